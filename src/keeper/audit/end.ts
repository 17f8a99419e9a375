import type { FileHandle } from 'node:fs/promises';
import { CodedError } from '../../protocol/terms.js';
import type { AuditKey } from './audit.js';
import { EVENTS, markOf, parse, VERSION, type Written } from './line.js';
import { Chains, linesOf, type Position, Reading } from './reading.js';

/** A newer version of this program has written to the log. */
export class NewerAuditLog extends CodedError {
  constructor(path: string, version: number) {
    super(
      'newer-version',
      `the audit log ${path} has lines of version ${version}, and this program knows version ${VERSION}: run the program that wrote them, or a newer one`,
    );
  }
}

/** Where a log ends. */
export interface End {
  readonly log: string;
  readonly position: Position;
  /** whether there are lines after it that no daemon wrote */
  readonly added: boolean;
  /** whether a seal is among its last lines */
  readonly sealed: boolean;
  /** the newest mark of the retry counters that the log carries */
  readonly mark?: Uint8Array | undefined;
}

/**
 * How many bytes are read from the end, one after the other until a mark is among them. Any line is shorter
 * than the first number.
 */
const TAILS = [2 ** 16, 2 ** 20, 2 ** 24] as const;

/**
 * Finds the last line that a daemon wrote. Reads only the last part of the log if that is enough. Ends a line
 * that was cut off. @returns `undefined` for an empty log @throws NewerAuditLog
 */
export async function endOf(file: FileHandle, path: string, key: AuditKey): Promise<End | undefined> {
  const { size } = await file.stat();
  if (size === 0) return undefined;
  const read = async (position: number, length: number) => {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
    return buffer.subarray(0, bytesRead).toString();
  };
  if (!(await read(size - 1, 1)).endsWith('\n')) await file.appendFile('\n');
  const [first] = parseAll(await read(0, TAILS[0]));
  const chains = new Chains(key);
  let end: Awaited<ReturnType<typeof genuineEnd>>;
  for (const length of TAILS) {
    end = await genuineEnd(parseAll(await read(Math.max(0, size - length), length)), chains);
    if (!end || end.mark || length >= size) break;
  }
  return end ? { log: String(first?.line.log), ...end, added: false } : readWhole(path, key);
}

/** The lines of a text, without one that a crash cut off. */
const parseAll = (text: string): Written[] => text.split('\n').flatMap((line) => parse(line) ?? []);

/** The last line, if all lines since the newest mark were written by daemons of this version. */
async function genuineEnd(
  lines: readonly Written[],
  chains: Chains,
): Promise<Pick<End, 'position' | 'mark' | 'sealed'> | undefined> {
  const last = lines.at(-1);
  if (!last || lines.length < 2) return undefined;
  const position = { n: last.line.n, chain: last.chain };
  const sealed = lines.some(({ line }) => line.event === EVENTS.seal);
  for (let i = lines.length - 1; i > 0; i--) {
    const [before, written] = lines.slice(i - 1) as [Written, Written];
    if (written.line.v !== VERSION || !(await chains.links(before.chain, written))) return undefined;
    const mark = markOf(written.line);
    if (mark) return { position, mark, sealed };
  }
  return { position, sealed };
}

async function readWhole(path: string, key: AuditKey): Promise<End | undefined> {
  const reading = new Reading(key);
  for await (const text of linesOf(path)) await reading.take(text);
  const { log, position = { n: 0, chain: String(log) }, added, mark, newer, seals } = reading;
  if (newer !== undefined) throw new NewerAuditLog(path, newer);
  return log === undefined ? undefined : { log, position, added: added > 0, sealed: seals > 0, mark };
}
