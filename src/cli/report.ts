import { printable } from '../process/index.js';
import { say, sayJson } from './say.js';

/** A number of things: 1 file, 2 files. */
export const counted = (count: number, one: string): string => `${count} ${one}${count === 1 ? '' : 's'}`;

/** Prints a result for a program, or as lines for a person. */
export function report(json: boolean | undefined, result: object, lines: () => Iterable<string>): void {
  if (json) sayJson(result);
  else for (const line of lines()) say(printable(line));
}
