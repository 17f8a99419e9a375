import type { Storage } from '../storage/index.js';
import { copyOf, deleteTwice } from './copies.js';
import { type Epoch, epochOf, type PartKeys, V1, type V1Keys } from './epoch.js';
import { BackupError, BadPart, Unopened } from './errors.js';
import { headsOf, idOf, listEpochs, listWraps, readWraps, unwrapAll } from './history.js';
import { describe, type Opener } from './openers.js';
import { join, writeEpoch } from './successor.js';

/** How often other devices may interfere before a change gives up. */
export const ROUNDS = 5;

interface Contents {
  /** epochs that are nobody's parent; new objects are written under the first. None in version 1 */
  readonly heads: readonly Epoch[];
  readonly epochs: Iterable<Epoch>;
  /** names of all epochs in the storage, including those that this opener does not open */
  readonly seen: ReadonlySet<string>;
  readonly v1: V1Keys | undefined;
}

/** The epochs of a backup that an opener opens (docs/formats/backup.md, "Keys"). */
export class Keyring {
  readonly #epochs = new Map<string, Epoch>();
  readonly heads: readonly Epoch[];
  readonly seen: ReadonlySet<string>;
  readonly v1: V1Keys | undefined;

  constructor({ heads, epochs, seen, v1 }: Contents) {
    for (const epoch of epochs) this.#epochs.set(epoch.id, epoch);
    this.heads = heads;
    this.seen = seen;
    this.v1 = v1;
  }

  /** The keyring of a backup of version 1. */
  static ofV1(v1: V1Keys): Keyring {
    return new Keyring({ heads: [], epochs: [], seen: new Set(), v1 });
  }

  /** Newest first. */
  get epochs(): Epoch[] {
    return [...this.#epochs.values()].sort((a, b) => b.number - a.number || (a.id < b.id ? 1 : -1));
  }

  /** @param id 32 digits @returns `undefined` when it is not opened */
  epochOf(id: string): Epoch | undefined {
    return this.#epochs.get(id);
  }

  /**
   * The epoch under which new objects are written. @throws BackupError when there is an epoch that is not
   * opened
   */
  get headToWrite(): Epoch {
    const [head] = this.heads;
    if (!head) throw new BackupError('a backup of version 1 is only read; run bkv migrate first');
    if (!this.complete)
      throw new NewerKey(
        'nothing was written: a part of this backup is under a key that this one does not open. Either this key was removed, or two devices changed the keys at once. Open the backup in another way',
      );
    return head;
  }

  /** Whether every epoch of the storage is opened. If not, unknown snapshots may need any part. */
  get complete(): boolean {
    return [...this.seen].every((id) => this.#epochs.has(id));
  }

  /** @throws BadPart */
  partKeys(epoch: string): PartKeys {
    const keys = epoch === V1 ? this.v1 : this.#epochs.get(epoch);
    if (!keys) throw new BadPart('it is under a key that this one does not open');
    return keys;
  }

  /**
   * Opens an object of this version. @throws BackupError @returns its content, and the epoch that sealed it
   */
  async open(name: string, sealed: Uint8Array): Promise<{ epoch: Epoch; plaintext: Uint8Array }> {
    const id = epochOf(sealed);
    const epoch = id === undefined ? undefined : this.#epochs.get(id);
    if (id !== undefined && !epoch && this.seen.has(id))
      throw new UnknownEpoch(
        `${name} is under a key that this one does not open; see bkv snapshots for others`,
      );
    if (!epoch) throw new Unopened(name);
    return { epoch, plaintext: await epoch.open(name, sealed) };
  }
}

/** Other devices changed the keys each time, or the storage shows only older ones. */
export class Interfered extends BackupError {
  constructor() {
    super('other devices keep changing the keys of this backup; try again later');
  }
}

/** There is an epoch that is not opened, so nothing is written. */
export class NewerKey extends BackupError {}

/** The object is sealed under an epoch that is there but that this opener does not open. */
export class UnknownEpoch extends BackupError {}

/**
 * Opens every epoch that an opener can. If two devices rotated at once, writes the epoch that joins them.
 * @returns `undefined` when there is no epoch yet
 * @throws BackupError when the opener opens none; StorageError
 */
export async function openKeyring(
  storage: Storage,
  opener: Opener,
  rounds = ROUNDS,
): Promise<Keyring | undefined> {
  // In this order, because an epoch is written after its openers.
  const seen = await listEpochs(storage);
  const names = await listWraps(storage);
  const wraps = await readWraps(storage, names);
  let unwrapped = await unwrapAll(storage, wraps, opener);
  const isOpen = (id: string) => unwrapped.histories.some(({ epoch }) => epoch.id === id);
  if (![...seen].every(isOpen)) {
    // A wrap that does not open may be damaged; then its second copy opens.
    wraps.push(...(await readWraps(storage, names.filter((name) => !isOpen(idOf({ name }))).map(copyOf))));
    unwrapped = await unwrapAll(storage, wraps, opener);
  }
  const { histories, v1, older } = unwrapped;
  if (histories.length === 0) {
    // An opener without its epoch was left by a beginning that was cut off.
    if (!wraps.some((wrap) => seen.has(idOf(wrap)))) return undefined;
    throw new Unopened(storage.location);
  }
  const heads = headsOf(histories);
  const keyring = new Keyring({
    heads: heads.map(({ epoch }) => epoch),
    epochs: [...older, ...histories.map(({ epoch }) => epoch)],
    seen,
    v1,
  });
  if (heads.length === 1 || heads.every(({ self, parents }) => self && parents.length === 0)) return keyring;
  if (rounds === 0) throw new Interfered();
  await join(storage, keyring);
  return openKeyring(storage, opener, rounds - 1);
}

/**
 * Begins a backup with its first epoch, or moves a backup of version 1 to version 2. @param v1 the keys of
 * version 1
 */
export async function beginKeyring(storage: Storage, opener: Opener, v1?: V1Keys): Promise<void> {
  const before = await listEpochs(storage);
  const { id, masterKey } = await writeEpoch(storage, {
    openers: [await describe(opener)],
    voucher: opener,
    parents: [],
    older: [],
    v1,
  });
  masterKey.fill(0);
  const keyring = await openKeyring(storage, opener);
  if (
    keyring?.complete ||
    [...(await listEpochs(storage))].every((other) => before.has(other) || other === id)
  )
    return;
  // Somebody with another key may have begun a backup here at the same time. Neither destroys the other,
  // though one is left unused.
  for (const name of await listWraps(storage)) if (idOf({ name }) === id) await deleteTwice(storage, name);
  await deleteTwice(storage, `epochs/${id}`);
  throw new BackupError(`another key began a backup in ${storage.location} at the same time; try again`);
}
