import { randomBytes } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import type { Binding } from './binding.js';
import { TokenError } from './errors.js';

export interface DataObject {
  readonly handle: string;
  readonly label: string;
  readonly value: Uint8Array;
}

/** The data object that shows who writes; its value is random. */
export type Writer = Pick<DataObject, 'handle' | 'value'>;

/** A session object that shows whether another session knows it by the same handle. */
export type Lent = Pick<DataObject, 'handle' | 'value'>;

/** CKA_APPLICATION of the vault's data objects. */
export const APPLICATION = 'bkv';

const OURS: pkcs11.Template = [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA },
  { type: pkcs11.CKA_TOKEN, value: true },
  { type: pkcs11.CKA_PRIVATE, value: true },
  { type: pkcs11.CKA_APPLICATION, value: APPLICATION },
];

/** A private data object of the vault, to be looked for or, with its value, created. */
export const dataObject = (label: string): pkcs11.Template => [
  ...OURS,
  { type: pkcs11.CKA_LABEL, value: label },
];

/** The vault's private data objects in a token. */
export class DataObjects {
  readonly #binding: Binding;
  readonly #epoch: number;

  /** @param epoch grows with every C_Initialize of the process; handles are valid in one epoch only */
  constructor(binding: Binding, epoch: number) {
    this.#binding = binding;
    this.#epoch = epoch;
  }

  /** @returns its handle */
  create(label: string, value: Uint8Array): string {
    const handle = this.#binding.p11.C_CreateObject(this.#binding.session, [
      ...dataObject(label),
      { type: pkcs11.CKA_VALUE, value: Buffer.from(value) },
    ]);
    return this.#name(handle);
  }

  /** @throws TokenError `BKV_FENCED` when the writer is gone: then nothing is destroyed */
  supersede(superseded: readonly string[], writer?: Writer): void {
    if (writer !== undefined && !this.#exists(writer)) {
      // Only an object that was looked for and not found was destroyed by another program.
      const value = { type: pkcs11.CKA_VALUE, value: Buffer.from(writer.value) };
      if (this.#binding.find([...OURS, value]).length > 0)
        throw new TokenError('the handle of the writer object does not lead to it', 'BKV_STALE');
      throw new TokenError('another program has become the writer of this token', 'BKV_FENCED');
    }
    for (const old of superseded) this.destroy(old);
  }

  /** An object that is gone already is not an error. */
  destroy(handle: string): void {
    try {
      this.#binding.destroy(this.#handle(handle));
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  holds(label: string, value: Uint8Array): boolean {
    return this.#binding.find(dataObject(label)).some((handle) => this.#value(handle).equals(value));
  }

  /** Those whose labels start with `prefix`; one that another program destroys meanwhile is left out. */
  list(prefix: string): DataObject[] {
    return this.#binding.find(OURS).flatMap((handle) => {
      try {
        const label = this.#binding.labelOf(handle);
        if (!label.startsWith(prefix)) return [];
        return [{ handle: this.#name(handle), label, value: Uint8Array.from(this.#value(handle)) }];
      } catch (error) {
        if (isGone(error)) return [];
        throw error;
      }
    });
  }

  /** Makes an object that ends with the session. @returns undefined when the module cannot make one */
  lend(): Lent | undefined {
    const value = randomBytes(16);
    try {
      const handle = this.#binding.p11.C_CreateObject(this.#binding.session, [
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA },
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_VALUE, value },
      ]);
      return { handle: this.#name(handle), value };
    } catch {
      return undefined;
    }
  }

  /** Whether another session's object is known by its handle. */
  borrows({ handle, value }: Lent): boolean {
    try {
      return this.#value(this.#handle(handle)).equals(value);
    } catch {
      return false;
    }
  }

  #value(handle: pkcs11.Handle): Buffer {
    return this.#binding.attribute(handle, pkcs11.CKA_VALUE);
  }

  /** Some modules reuse the handle of a destroyed object, so the value is compared. */
  #exists({ handle, value }: Writer): boolean {
    try {
      return this.#value(this.#handle(handle)).equals(value);
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  }

  #name(handle: pkcs11.Handle): string {
    return `${this.#epoch}.${handle.toString('hex')}`;
  }

  /** A handle from before the module was last initialized could now be another object's. */
  #handle(name: string): pkcs11.Handle {
    const [epoch, handle] = name.split('.') as [string, string];
    if (Number(epoch) !== this.#epoch)
      throw new TokenError('the object was found before the token was lost', 'BKV_STALE');
    return Buffer.from(handle, 'hex');
  }
}

const isGone = (error: unknown): boolean =>
  (error as pkcs11.Pkcs11Error).code === pkcs11.CKR_OBJECT_HANDLE_INVALID;
