import type { AuditHead, AuditKey } from './audit.js';
import { linesOf, Reading } from './reading.js';

export interface AuditVerdict {
  readonly lines: number;
  readonly seals: number;
  /** lines after the last seal: the daemon ended before it could seal them */
  readonly unsealed: number;
  /** what is wrong, in the order of the file; empty if nothing is */
  readonly faults: readonly string[];
  /** other logs that the token knows: of other daemons, or of files that are missing */
  readonly others: readonly AuditHead[];
}

/** Reads a whole log and reports whether it is complete and unchanged. */
export async function verifyAudit(path: string, key: Pick<AuditKey, 'mac' | 'heads'>): Promise<AuditVerdict> {
  const heads = await key.heads();
  const reading = new Reading(key);
  for await (const text of linesOf(path)) {
    await reading.take(text);
    const head = reading.log === undefined ? undefined : heads.get(reading.log);
    if (
      head &&
      reading.position?.n === head.n &&
      reading.added === 0 &&
      reading.position.chain !== head.chain
    )
      reading.faults.push(`line ${head.n} is not the one that the token saw`);
  }
  reading.end();
  const { log, lines, seals, unsealed, faults, position } = reading;
  const head = log === undefined ? undefined : heads.get(log);
  if (!position) faults.push('it has no line that a daemon wrote');
  else if (head && head.n > position.n)
    faults.push(`the end is missing: the token has seen line ${head.n}, and the log ends at ${position.n}`);
  else if (!head && seals > 0)
    faults.push(
      'the token does not know of this log, so its end may be missing. After a restore of the token, until a daemon has gone on with it, that is so',
    );
  return { lines, seals, unsealed, faults, others: [...heads.values()].filter((other) => other.log !== log) };
}
