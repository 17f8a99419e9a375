import {
  addOpener,
  listOpeners,
  type Opener,
  type OpenerInfo,
  openerKinds,
  removeOpener,
} from '../backup/index.js';
import { UsageError } from './errors.js';
import type { AccountFlags, OpenerFlags } from './flags.js';
import { makeOpener, type NewOpenerFlags } from './new-opener.js';
import { readOpener } from './opener-input.js';
import { openPage } from './passkey-page.js';
import { report } from './report.js';
import { lastUsed, look, seenEpoch } from './seen.js';
import { withStorage } from './storages.js';
import { confirmLoss } from './terminal.js';

/** The kinds that this program knows. */
const KINDS = ['key', 'passkey', 'contacts'];

/** What a person calls an opener. */
function nameOf({ kind, form, label, threshold, pieces }: OpenerInfo): string {
  const what = form ?? (KINDS.includes(kind) ? kind : `"${kind}", which a newer program has added`);
  const needed = threshold === undefined ? '' : ` (any ${threshold} of ${pieces})`;
  return `${what}${needed}${label && `, ${label}`}`;
}

const day = (time: string | undefined): string =>
  time && !Number.isNaN(Date.parse(time)) ? new Date(time).toISOString().slice(0, 10) : 'never';

function tell(openers: readonly OpenerInfo[], json?: boolean): void {
  const used = lastUsed();
  const found = openers.map(({ publicKey: _, ...info }) => ({ ...info, lastUsed: used[info.id] }));
  report(json, { openers: found }, () =>
    openers.map(
      (info) =>
        `${info.id}  ${nameOf(info)}  added ${day(info.added)}, last used on this device: ${day(used[info.id])}`,
    ),
  );
  if (openers.length === 1)
    process.stderr.write('Only one thing opens this backup. Add a second one: bkv opener add --help\n');
}

export async function list(
  backup: string,
  { json, ...flags }: OpenerFlags & { json?: boolean },
): Promise<void> {
  const key = await readOpener(flags);
  return withStorage(backup, async (storage) => {
    await look(storage, key);
    tell(await listOpeners(storage, key), json);
  });
}

/** Has a browser add a passkey; nothing that opens the backup is asked for here. */
function addPasskey(backup: string, page: string | undefined): Promise<void> {
  return withStorage(backup, async (storage) => {
    if ((await openerKinds(storage)).size === 0)
      throw new UsageError(
        `${backup} is not a backup that a passkey can be added to; is it spelt correctly?`,
      );
    await openPage(page, backup);
  });
}

export async function add(
  kind: string,
  backup: string,
  { page, ...flags }: AccountFlags & OpenerFlags & NewOpenerFlags & { page?: string },
): Promise<void> {
  if (kind === 'passkey') return addPasskey(backup, page);
  const key = await readOpener(flags);
  await withStorage(backup, async (storage) => {
    // If the backup cannot be changed, this is reported before anybody types or keeps anything.
    await listOpeners(storage, key);
    const { opener, undo } = await makeOpener(kind, flags);
    const named: Opener = { ...opener, ...(flags.label !== undefined && { label: flags.label }) };
    const openers = await addOpener(storage, key, named, { seenEpoch: seenEpoch(key) }).catch((error) => {
      undo();
      throw error;
    });
    await look(storage, key);
    tell(openers);
  });
}

export async function remove(
  backup: string,
  which: string,
  { yes, json, ...flags }: OpenerFlags & { yes?: boolean; json?: boolean },
): Promise<void> {
  const key = await readOpener(flags);
  await withStorage(backup, async (storage) => {
    const openers = await listOpeners(storage, key);
    const [found, another] = openers.filter(({ id, label }) => id.startsWith(which) || label === which);
    if (!found || another)
      throw new UsageError(
        `"${which}" names ${another ? 'several openers' : 'no opener'}; see bkv opener list`,
      );
    const loss = `${nameOf(found)} will open nothing that is backed up from now on. What was backed up until now it still opens.`;
    if (!yes) await confirmLoss(loss, 'remove', '--yes');
    const stay = await removeOpener(storage, key, found.id, { seenEpoch: seenEpoch(key) });
    tell(stay, json);
    if (found.form === 'password')
      process.stderr.write(
        'The vault still holds its key. If that key opens nothing else, delete it: bkv key delete\n',
      );
    // The opener that was removed may be the one that opened the backup.
    await look(storage, key).catch(() => undefined);
  });
}
