import { Turn } from '../../process/index.js';
import { type KeptMark, Ledger, tokenStore } from '../ledger/index.js';
import { KEY_LABELS } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';
import type { Records } from '../records/index.js';
import { Accounts } from './accounts.js';
import { knownMark, Marks } from './binding.js';
import { Dealings } from './dealings.js';
import { Evaluation } from './evaluation.js';
import { KeyAgreement } from './key-agreement.js';
import { Lifecycle } from './lifecycle.js';
import { AccountNames } from './names.js';
import { Recoveries } from './recovery.js';
import { Registrations } from './registration.js';
import { Rows } from './rows.js';
import { backUpToken } from './token-backup.js';
import { UnknownAccounts } from './unknown.js';
import { keepBackup, tidyUp } from './upkeep.js';

export interface VaultOptions {
  /** wrong passwords until the key is unreachable */
  readonly maxAttempts: number;
  /** most bytes of a data object of the token; 4,096 by default */
  readonly objectBytes?: number;
  /** milliseconds between the two messages of an exchange */
  readonly exchangeLifetime: number;
  /** marks of {@link Vault.mark} that are kept outside the database */
  readonly marks?: readonly KeptMark[];
  /** keeps a backup of the token: called when the vault opens, and whenever its page keys have changed */
  readonly keepBackup?: (backup: string) => Promise<void>;
}

/** What a vault is made of. */
export interface Parts {
  readonly token: Token;
  readonly ledger: Ledger;
  readonly records: Records;
  /** the vault's identity, which clients pin: 33 bytes */
  readonly serverPublicKey: Uint8Array;
  readonly lifecycle: Lifecycle;
  readonly rows: Rows;
  readonly accounts: Accounts;
  readonly names: AccountNames;
  readonly unknown: UnknownAccounts;
  readonly registrations: Registrations;
  readonly recoveries: Recoveries;
  readonly dealings: Dealings;
  readonly evaluation: Evaluation;
  readonly marks: Marks;
  /** keeps a fresh backup of the token, if one is wanted */
  keepBackup(): Promise<void>;
}

/** @throws LedgerCorrupt when the counters in the token are not whole; ForeignDatabase; TokenError */
export async function openParts(token: Token, records: Records, options: VaultOptions): Promise<Parts> {
  let changed = async (): Promise<void> => undefined;
  const backups = new Turn();
  const serverPublicKey = await token.call('publicKey', KEY_LABELS.static);
  const ledger = await openLedger(token, records, { ...options, serverPublicKey, changed: () => changed() });
  const fakeSeed = await token.call('hmac', KEY_LABELS.fake, Buffer.from('bkv fake records v1'));
  const namesKey = await token
    .call('hmac', KEY_LABELS.names, Buffer.from('bkv account names 2'))
    .catch((error) => {
      fakeSeed.fill(0);
      throw error;
    });
  const lifetime = options.exchangeLifetime;
  const lifecycle = new Lifecycle(token, ledger, serverPublicKey);
  const rows = new Rows(token, ledger);
  const unknown = new UnknownAccounts(ledger, serverPublicKey, fakeSeed);
  const accounts = new Accounts(rows, ledger, records, unknown);
  const agreement = new KeyAgreement(token, serverPublicKey);
  const evaluation = new Evaluation(token);
  const parts: Parts = {
    token,
    ledger,
    records,
    serverPublicKey,
    lifecycle,
    rows,
    accounts,
    names: new AccountNames(namesKey),
    unknown,
    registrations: new Registrations(token, ledger, accounts, agreement, lifecycle, {
      serverPublicKey,
      lifetime,
    }),
    recoveries: new Recoveries(token, ledger, accounts, unknown, lifecycle, {
      serverPublicKey,
      lifetime,
      evaluation,
    }),
    dealings: new Dealings(token, ledger, accounts, agreement, lifecycle, lifetime),
    evaluation,
    marks: new Marks(ledger, records, serverPublicKey),
    keepBackup: async () => {
      const { keepBackup: keep } = options;
      // The hourly backup, and one for a new page key, may be due at the same time.
      if (keep) await backups.take(() => keepBackup(() => backUpToken(token, ledger), keep));
    },
  };
  try {
    await parts.marks.keep();
    changed = parts.keepBackup;
    await changed();
  } catch (error) {
    await closeParts(parts);
    throw error;
  }
  lifecycle.watch();
  void tidyUp(lifecycle, accounts);
  return parts;
}

/** Ends everything that runs, and forgets the secrets. Token and database stay open. */
export async function closeParts(parts: Parts): Promise<void> {
  parts.evaluation.close();
  await parts.lifecycle.close();
  parts.registrations.close();
  parts.dealings.close();
  parts.recoveries.close();
  await parts.ledger.close();
  await parts.marks.close();
  parts.unknown.close();
  parts.names.close();
}

/** @param given `changed` is called whenever a page key was made or destroyed */
async function openLedger(
  token: Token,
  records: Records,
  given: VaultOptions & { readonly serverPublicKey: Uint8Array; changed(): Promise<void> },
): Promise<Ledger> {
  const { maxAttempts, marks = [], objectBytes, serverPublicKey, changed } = given;
  const store = tokenStore(token);
  const generatePageKey = (label: string) => store.generatePageKey(label).then(changed);
  const destroyPageKey = (label: string) => store.destroyPageKey(label).then(changed);
  const known = await knownMark(token, records, serverPublicKey);
  return Ledger.open(
    { ...store, generatePageKey, destroyPageKey },
    {
      limit: maxAttempts,
      marks: [...(known ? [known] : []), ...marks],
      ...(objectBytes !== undefined && { objectBytes }),
    },
  );
}
