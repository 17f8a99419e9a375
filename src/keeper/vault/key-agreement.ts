import { timingSafeEqual } from 'node:crypto';
import {
  finishMac,
  type RegistrationStart,
  type RegistrationUpload,
  registrationKeys,
  startMac,
  xOf,
} from '../../protocol/index.js';
import { KEY_LABELS } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';
import { toElement } from './elements.js';
import { InvalidMessage } from './errors.js';

/** The MACs of a registration with a client that sent a key share. */
export interface Bound {
  readonly startMac: Uint8Array;
  readonly keys: { start: Uint8Array; finish: Uint8Array };
}

/** How many key shares are remembered as used. */
const REMEMBERED = 100_000;

/** What a client's key share X and the vault's static key agree on: the keys of a registration's MACs (docs/protocol.md). */
export class KeyAgreement {
  readonly #token: Token;
  readonly #serverPublicKey: Uint8Array;
  readonly #seen = new Set<string>();

  constructor(token: Token, serverPublicKey: Uint8Array) {
    this.#token = token;
    this.#serverPublicKey = serverPublicKey;
  }

  /**
   * Begins a registration. If that fails, nothing has left the vault, and X counts as fresh again.
   * @param begin gets x(s·X), 32 bytes, which is zeroed afterwards
   * @throws InvalidMessage when X is not an element, or was seen before; what `begin` throws
   */
  async agree<T>(keyshare: Uint8Array, begin: (shared: Uint8Array) => Promise<T>): Promise<T> {
    const point = toElement(keyshare);
    const name = Buffer.from(keyshare).toString('base64');
    if (this.#seen.has(name)) throw new InvalidMessage('this key share was used before; make a fresh one');
    this.#seen.add(name);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value as string);
    let shared: Uint8Array | undefined;
    try {
      const product = await this.#token.call('multiply', { label: KEY_LABELS.static }, point);
      shared = xOf(product);
      product.fill(0);
      return await begin(shared);
    } catch (error) {
      this.#seen.delete(name);
      throw error;
    } finally {
      shared?.fill(0);
    }
  }

  /** @param shared of {@link agree}, zeroed here */
  bind(shared: Uint8Array, start: Omit<RegistrationStart, 'serverPublicKey'>): Bound {
    const keys = registrationKeys(shared);
    return { keys, startMac: startMac(keys.start, { serverPublicKey: this.#serverPublicKey, ...start }) };
  }
}

/** @throws InvalidMessage when the message does not come from the client that began */
export function checkFinish({ keys, startMac }: Bound, upload: RegistrationUpload, mac?: Uint8Array): void {
  const expected = finishMac(keys.finish, startMac, upload);
  if (mac?.length !== expected.length || !timingSafeEqual(mac, expected))
    throw new InvalidMessage('the MAC is not from the client that started this registration');
}
