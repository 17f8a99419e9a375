import { createHmac, randomBytes } from 'node:crypto';
import type { LedgerStore } from '../../src/keeper/ledger/index.js';
import { type DataObject, TokenError, type Writer } from '../../src/keeper/pkcs11/index.js';

/** The power was cut. */
export class Cut extends Error {}

/**
 * A token's objects in memory. It can stop before or after any write, as in a crash, or have no more room.
 */
export class MemoryStore implements LedgerStore {
  objects = new Map<string, { label: string; value: Uint8Array }>();
  readonly keys = new Set<string>();
  /** writes until now, and the write at which the power is cut: `after` its effect or before */
  writes = 0;
  cutAt = Number.POSITIVE_INFINITY;
  after = false;
  /**
   * the object made by the write at which the power was cut: it is shown, though nobody knows whether it is
   * on the disk
   */
  unconfirmed: string | undefined;
  /** whether there is no room for a key, or for a page that replaces no other */
  full = false;
  pagesFull = false;
  #next = 0;

  constructor(readonly macKey: Uint8Array = randomBytes(32)) {}

  #write<T>(effect: () => T): T {
    this.writes++;
    if (this.writes > this.cutAt || (this.writes === this.cutAt && !this.after)) throw new Cut();
    const result = effect();
    if (this.writes === this.cutAt) {
      if (typeof result === 'string') this.unconfirmed = result;
      throw new Cut();
    }
    return result;
  }

  async replaceData(
    label: string,
    value: Uint8Array,
    superseded: readonly string[],
    writer?: Writer,
  ): Promise<string> {
    if (this.pagesFull && label.startsWith('bkv.ledger.page.'))
      throw new TokenError('CKR_DEVICE_MEMORY', 'CKR_DEVICE_MEMORY');
    const handle = this.#write(() => this.plant(label, value));
    if (writer && !this.objects.has(writer.handle)) throw new TokenError('fenced', 'BKV_FENCED');
    for (const old of superseded) await this.destroyData(old);
    return handle;
  }

  /** Puts in an object, as somebody else may. */
  plant(label: string, value: Uint8Array): string {
    const handle = String(this.#next++);
    this.objects.set(handle, { label, value: Uint8Array.from(value) });
    return handle;
  }

  async destroyData(handle: string): Promise<void> {
    this.#write(() => this.objects.delete(handle));
  }

  async listData(prefix: string): Promise<DataObject[]> {
    return [...this.objects]
      .filter(([, { label }]) => label.startsWith(prefix))
      .map(([handle, object]) => ({ handle, ...object }));
  }

  async refresh(): Promise<void> {}

  async mac(data: Uint8Array): Promise<Uint8Array> {
    return createHmac('sha256', this.macKey).update(data).digest();
  }

  async generatePageKey(label: string): Promise<void> {
    if (this.full) throw new TokenError('CKR_DEVICE_MEMORY', 'CKR_DEVICE_MEMORY');
    this.#write(() => this.keys.add(label));
  }

  async destroyPageKey(label: string): Promise<void> {
    this.#write(() => this.keys.delete(label));
  }

  async listPageKeys(): Promise<{ label: string }[]> {
    return [...this.keys].map((label) => ({ label }));
  }

  /** Power is back. */
  restart(): void {
    this.cutAt = Number.POSITIVE_INFINITY;
  }

  /** The objects of a label, newest last. */
  labelled(label: string): [string, { label: string; value: Uint8Array }][] {
    return [...this.objects].filter(([, object]) => object.label === label);
  }
}
