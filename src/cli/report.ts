import { say, sayJson } from './say.js';

/** Prints a result for a program, or as lines for a person. */
export function report(json: boolean | undefined, result: object, lines: () => Iterable<string>): void {
  if (json) sayJson(result);
  else for (const line of lines()) say(line);
}
