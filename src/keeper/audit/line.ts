import { createHash, createHmac } from 'node:crypto';

/** docs/formats/audit-log.md says what a line is. Lines of version 1 have no `v` and no `run`. */
export const VERSION = 2;

export interface Line {
  readonly v?: number;
  readonly n: number;
  readonly event: string;
  /** names the run of the daemon, whose key chains the line: 32 hexadecimal digits */
  readonly run?: string;
  readonly [detail: string]: unknown;
}

/** A line as it is in the file: `body` is what its chain covers. */
export interface Written {
  readonly line: Line;
  readonly body: string;
  readonly chain: string;
}

const WRITTEN = /^(\{.*),"chain":"([\w-]{43})"\}$/s;

/** @returns `undefined` for text that is not a line, such as one that a crash cut off */
export function parse(text: string): Written | undefined {
  const [, open, chain] = WRITTEN.exec(text) ?? [];
  if (open === undefined || chain === undefined) return undefined;
  try {
    const line = JSON.parse(`${open}}`) as Line;
    return Number.isSafeInteger(line.n) && typeof line.event === 'string'
      ? { line, body: `${open}}`, chain }
      : undefined;
  } catch {
    return undefined;
  }
}

export const written = (body: string, chain: string): string => `${body.slice(0, -1)},"chain":"${chain}"}\n`;

/** @param before chain of the line before, or the name of the log @param key of the run; none for version 1 */
export const link = (before: string, body: string, key: Uint8Array | undefined): string =>
  (key ? createHmac('sha256', key) : createHash('sha256')).update(`${before}\n${body}`).digest('base64url');

/** How new the retry counters were at least, from a seal. */
export const markOf = ({ event, mark }: Line): Uint8Array | undefined =>
  event === EVENTS.seal && typeof mark === 'string' ? Buffer.from(mark, 'base64url') : undefined;

/**
 * The input from which the token key makes the key of a run. It is the same in every version, so that a newer
 * log is recognised.
 */
export const runInput = (run: string): Uint8Array => Buffer.from(`bkv audit 2 run ${run}`);
/** The input from which the token key makes a seal. */
export const sealInput = (chain: string): Uint8Array => Buffer.from(`bkv audit seal v1 ${chain}`);

/** Events that a daemon writes about the log itself. */
export const EVENTS = {
  begin: 'begin',
  run: 'run',
  seal: 'seal',
  /** it found that the end was cut off */
  cut: 'cut',
  /** it found that the token does not know the log, although the log was sealed */
  unknown: 'unknown',
  /** it could not write so many lines for so long that it gave them up */
  lost: 'lost',
  /** it found lines after the last one that a daemon wrote */
  added: 'added',
} as const;
