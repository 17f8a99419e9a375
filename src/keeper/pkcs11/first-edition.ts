import { TokenError } from './errors.js';
import { KEY_LABELS } from './labels.js';

/** A key that only version 0.1 made. */
const RECORD_KEY = 'bkv.record';

/**
 * Keys of version 0.1 are not taken over: an insider could take them away, and the records that they open
 * have other account names and other envelopes. docs/operator.md says how a vault of that version goes on.
 * @param labels of the token's keys @throws TokenError for a token that version 0.1 made
 */
export function refuseFirstEdition(labels: Iterable<string>): void {
  const all = new Set(labels);
  if (!all.has(RECORD_KEY) || all.has(KEY_LABELS.wrap)) return;
  throw new TokenError(
    'this token was made by version 0.1, and this version cannot take over what it holds. Nothing was changed. Go on running version 0.1 with it, make a new vault with a token and a database of its own, and have every account register there (docs/operator.md, "From version 0.1")',
    'BKV_FIRST_EDITION',
    'older-version',
  );
}
