import { timingSafeEqual } from 'node:crypto';
import { LedgerCorrupt } from './errors.js';
import { isGenuine, MARK_LABEL, type Mac, seal } from './formats/frame.js';
import { decodeMark, encodeMark, type Mark } from './formats/v3.js';

/** A mark, and where it is kept outside the token. */
export interface KeptMark {
  readonly mark: Uint8Array;
  readonly keeper: string;
}

/**
 * How new the ledger is, for somebody outside the token to remember: 68 bytes, authenticated by the token's
 * key. A mark reveals a token that was put back to an older state.
 */
export const sealMark = (mac: Mac, mark: Mark): Promise<Uint8Array> =>
  seal(mac, MARK_LABEL, encodeMark(mark));

/** Whether this token made the mark, of a change after `sequence`. */
export const isNewer = async (mac: Mac, mark: Uint8Array, sequence: bigint): Promise<boolean> =>
  (await isGenuine(mac, MARK_LABEL, mark)) && decodeMark(mark).sequence > sequence;

/**
 * @param found what the token holds
 * @throws LedgerCorrupt when the mark is not this token's, or the token is older than it says
 */
export async function checkMark(mac: Mac, { mark: value, keeper }: KeptMark, found: Mark): Promise<void> {
  if (!(await isGenuine(mac, MARK_LABEL, value)))
    throw new LedgerCorrupt(
      `the mark that ${keeper} keeps of the retry counters is not one that this token made: one of the two is of another vault, or the mark was altered`,
    );
  const mark = decodeMark(value);
  if (mark.sequence <= found.sequence) return;
  const sameLedger = timingSafeEqual(mark.ledger, found.ledger);
  throw new LedgerCorrupt(
    `the token holds an older state of the retry counters (change ${found.sequence}) than ${keeper} knows (change ${mark.sequence}${sameLedger ? '' : ', of another ledger'}): somebody put it back, and attempts with it. Bring the token's newest state back`,
  );
}
