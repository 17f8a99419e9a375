import { TAG_BYTES } from './cipher.js';
import { randomHex, text } from './encoding.js';
import type { Epoch } from './epoch.js';
import { BackupError } from './errors.js';
import type { Part, Summary } from './format.js';
import { listEpochs } from './history.js';
import type { Listed } from './list.js';
import { MOST_NAMES, packNames, unpackNames } from './names.js';
import { partPath, type Repository } from './repository.js';
import { snapshotNames, snapshotPath } from './snapshots.js';

/** Bytes of other runs' parts that are read back. */
const READ_BACK = 32 * 1024 * 1024;
/** A claim is written again after this many new names, if they are also a quarter of those that it has. */
const CLAIM_AFTER = 1000;

/**
 * A run that adds to a backup while others may do so too: which parts it may rely on, what it relies on, and
 * how it ends (docs/formats/backup.md, "Several writers").
 */
export class Run {
  readonly #claim = `claims/${randomHex(16)}`;
  /** bytes of the parts that are there and sound */
  readonly #there = new Map<string, number>();
  readonly #tainted = new Set<string>();
  /** parts that this run found damaged, and stores again */
  readonly #damaged = new Set<string>();
  readonly #written = new Set<string>();
  readonly #relied = new Map<string, Part>();
  #claimed = 0;

  private constructor(public repository: Repository) {}

  static async begin(repository: Repository): Promise<Run> {
    const run = new Run(repository);
    await run.#look();
    return run;
  }

  get head(): Epoch {
    return this.repository.head;
  }

  /** Reads which parts are there, and which are about to be deleted. */
  async #look(): Promise<void> {
    await Promise.all([this.#lookForMarks(), this.#lookForParts()]);
  }

  async #lookForMarks(): Promise<void> {
    this.#tainted.clear();
    for await (const { content } of this.repository.sealed('marks', MOST_NAMES))
      for (const name of unpackNames(content ?? new Uint8Array())) this.#tainted.add(name);
  }

  async #lookForParts(): Promise<void> {
    this.#there.clear();
    for await (const { part, size } of this.repository.parts())
      if (!this.#damaged.has(part)) this.#there.set(part, size);
  }

  /** Bytes of plaintext of a part that may be relied on; `undefined` when it may not. */
  #lengthOf(name: string): number | undefined {
    const size = this.#tainted.has(name) ? undefined : this.#there.get(name);
    return size === undefined ? undefined : size - TAG_BYTES;
  }

  /**
   * Relies on parts of an earlier snapshot. @returns the same parts; `undefined` when one is missing or
   * incomplete
   */
  rely(parts: readonly Part[]): Part[] | undefined {
    const sound: Part[] = [];
    for (const part of parts) {
      const length = this.#lengthOf(part.name);
      if (length === undefined || length !== (part.length ?? length)) return undefined;
      sound.push(this.#relied.get(part.name) ?? { ...part, length });
    }
    for (const part of sound) this.#relied.set(part.name, part);
    return sound;
  }

  /** Stores a part, unless it is there; its buffer is used up. */
  async put(plaintext: Uint8Array): Promise<Part> {
    const { length } = plaintext;
    const digest = await this.repository.cipher.digest(plaintext);
    const part = this.#find(digest, length) ?? (await this.#store(digest, plaintext));
    this.#relied.set(part.name, part);
    const fresh = this.#relied.size - this.#claimed;
    if (fresh >= CLAIM_AFTER && fresh * 4 >= this.#claimed) await this.claim();
    return part;
  }

  /** The part with this content, if it is there already, in any epoch. */
  #find(digest: Uint8Array, length: number): Part | undefined {
    for (const epoch of this.repository.keyring.epochs) {
      const name = epoch.partName(digest, 0);
      if (this.#lengthOf(name) === length) return { name, length, epoch: epoch.id };
    }
    return undefined;
  }

  async #store(digest: Uint8Array, plaintext: Uint8Array): Promise<Part> {
    const { head } = this;
    const { storage, cipher } = this.repository;
    const { length } = plaintext;
    let variant = 0;
    while (this.#tainted.has(head.partName(digest, variant))) variant++;
    const part = { name: head.partName(digest, variant), length, epoch: head.id };
    if (this.#lengthOf(part.name) === length) return part;
    const [path, key] = [partPath(part.name), head.partKey(part.name)];
    if (storage.fill && cipher.sealInto)
      await storage.fill(path, async (file) => cipher.sealInto?.(file, key, head.about, plaintext));
    else await storage.write(path, await cipher.seal(key, head.about, plaintext));
    this.#there.set(part.name, length + TAG_BYTES);
    this.#written.add(part.name);
    this.#damaged.delete(part.name);
    return part;
  }

  /** Tells prunes what this run relies on. */
  async claim(): Promise<void> {
    this.#claimed = this.#relied.size;
    const { storage } = this.repository;
    await storage.write(this.#claim, await this.head.seal(this.#claim, packNames(this.#relied.keys())));
  }

  /**
   * Whether everything that the run relies on is there and will stay. If not, the run begins again, and keeps
   * its entries. The claim must be written before.
   */
  async isSound(): Promise<boolean> {
    const relied = [...this.#relied.values()];
    const [rotated] = await Promise.all([this.#isRotated(), this.#look()]);
    if (rotated) this.repository = await this.repository.reopen();
    const kept = relied.every(({ name, length }) => this.#lengthOf(name) === length);
    return kept && !rotated && (await this.#readBack(relied));
  }

  /** Whether there is an epoch that was not there when the run began. */
  async #isRotated(): Promise<boolean> {
    const epochs = await listEpochs(this.repository.storage);
    return [...epochs].some((id) => !this.repository.keyring.seen.has(id));
  }

  /** Starts another round, which relies on nothing yet. */
  again(): void {
    this.#relied.clear();
    this.#claimed = 0;
  }

  /**
   * Reads back some older parts, chosen at random, so that damage is found while the content is still at
   * hand.
   */
  async #readBack(relied: readonly Part[]): Promise<boolean> {
    const older = relied.filter(({ name }) => !this.#written.has(name));
    const chosen: Part[] = [];
    for (let left = READ_BACK; left > 0 && older.length > 0; left -= chosen.at(-1)?.length ?? 0)
      chosen.push(...older.splice(Math.floor(Math.random() * older.length), 1));
    const { parallel } = this.repository.storage;
    while (chosen.length > 0)
      await Promise.all(chosen.splice(0, parallel).map((part) => this.#readPart(part)));
    return this.#damaged.size === 0 || !relied.some(({ name }) => this.#damaged.has(name));
  }

  async #readPart(part: Part): Promise<void> {
    try {
      await this.repository.getPart(part);
    } catch (error) {
      if (!(error instanceof BackupError)) throw error;
      this.#damaged.add(part.name);
      this.#there.delete(part.name);
    }
  }

  /** Writes the snapshot. @returns its name; `undefined` when the claim has gone, or a new epoch has come */
  async publish(summary: Summary, lists: readonly Listed[]): Promise<string | undefined> {
    const { storage } = this.repository;
    const { head } = this;
    const newest = (await snapshotNames(storage)).map(({ sequence }) => sequence);
    const sequence = 1 + Math.max(0, ...newest);
    const digits = (value: number, count: number) => String(value).padStart(count, '0');
    const name = `${digits(head.number, 4)}-${digits(sequence, 8)}-${randomHex(8)}`;
    const list = lists.map(({ part: { name, length, epoch }, first }) => [
      name,
      length,
      first,
      ...(epoch === head.id ? [] : [epoch]),
    ]);
    const content = { created: new Date().toISOString(), ...summary, list };
    const sealed = await head.seal(snapshotPath(name), text(JSON.stringify(content)));
    // The snapshot names parts, so they must be on the disk before it.
    await storage.flush();
    await storage.write(snapshotPath(name), sealed);
    await storage.flush();
    // An opener that was removed meanwhile must not read it.
    const [rotated, claim] = await Promise.all([this.#isRotated(), storage.size(this.#claim)]);
    if (!rotated && claim !== undefined) return name;
    await storage.delete(snapshotPath(name));
    return undefined;
  }

  /** Gives the claim up. */
  async end(): Promise<void> {
    await this.repository.storage.delete(this.#claim);
  }
}
