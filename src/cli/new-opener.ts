import type { Opener } from '../backup/index.js';
import { newBackupKey, splitSecret } from '../client/written.js';
import { accountClient } from './account.js';
import { UsageError } from './errors.js';
import type { AccountFlags } from './flags.js';
import { expectKept, giveOut } from './give-out.js';
import { recoverKey, tellOutcome } from './held-key.js';
import { readNewPassword, readOldPassword } from './passwords.js';
import { writePieces } from './piece-files.js';

export interface NewOpenerFlags {
  readonly label?: string;
  readonly out?: string;
  readonly yes?: boolean;
  readonly name?: readonly string[];
  readonly needed?: number;
}

/** An opener that is already kept somewhere, and a function that undoes this if the opener is not added. */
export interface Made {
  readonly opener: Opener;
  readonly undo: () => void;
}

const kept = (opener: Opener): Made => ({ opener, undo: () => undefined });

/** The account's password, or a new one if it has none. A key that the vault holds is never replaced. */
async function password(flags: AccountFlags): Promise<Made> {
  const client = await accountClient(flags);
  const { state } = await client.status();
  if (state === 'locked')
    throw new UsageError(
      'this account is locked for ever; bkv key register --replace starts over with another key',
    );
  if (state === 'registered') {
    process.stderr.write('The account has a password. It will open this backup, too.\n');
    return kept({ kind: 'key', form: 'password', secret: await recoverKey(client, await readOldPassword()) });
  }
  const chosen = await readNewPassword();
  const secret = newBackupKey();
  tellOutcome((await client.register(chosen, secret)) ?? {}, 'the registration is not finished');
  return kept({ kind: 'key', form: 'password', secret });
}

async function digits({ out, yes }: NewOpenerFlags): Promise<Made> {
  const where = { ...(out !== undefined && { out }), ...(yes !== undefined && { yes }) };
  expectKept(where);
  const secret = newBackupKey();
  await giveOut(secret, where);
  return kept({ kind: 'key', form: 'digits', secret });
}

async function contacts({ name = [], needed: threshold = 2, out }: NewOpenerFlags): Promise<Made> {
  if (out === undefined || name.length < 2)
    throw new UsageError(
      'say who gets a piece, two or more: --name ANN --name BEN, and where the pieces go: --out FOLDER',
    );
  const secret = newBackupKey();
  const pieces = await splitSecret(secret, name.length, threshold);
  const undo = writePieces(out, pieces, name, threshold);
  process.stderr.write(
    `The pieces are in ${out}, to be printed or sent to one person each. Delete the files then: together they open the backup.\n`,
  );
  return {
    opener: { kind: 'contacts', secret, label: name.join(', '), pieces: pieces.length, threshold },
    undo,
  };
}

/** Makes what will open a backup. @throws UsageError and what the vault says */
export async function makeOpener(kind: string, flags: AccountFlags & NewOpenerFlags): Promise<Made> {
  if (kind === 'password') return password(flags);
  if (kind === 'digits') return digits(flags);
  if (kind === 'contacts') return contacts(flags);
  throw new UsageError(`"${kind}" does not open backups: use password, digits, passkey or contacts`);
}
