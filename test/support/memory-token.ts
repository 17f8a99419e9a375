import { createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { p256 } from '@noble/curves/nist.js';
import { InvalidInput } from '../../src/keeper/elements/index.js';
import {
  type Calls,
  KEY_LABELS,
  type PrivateKey,
  TokenError,
  type TokenReason,
  type WrappedKey,
} from '../../src/keeper/pkcs11/index.js';
import type { PageKey } from '../../src/keeper/pkcs11/page-keys.js';
import { wrapScalar } from '../../src/keeper/pkcs11/wrapping.js';
import type { Token } from '../../src/keeper/pool/index.js';
import { generateKE2, parseRegistrationRecord } from '../../src/protocol/index.js';
import { times } from '../fleet/openssl.js';
import { MemoryStore } from './memory-store.js';

type Soft = {
  [M in keyof Calls]: (
    ...args: Parameters<Calls[M]>
  ) => ReturnType<Calls[M]> | Promise<Awaited<ReturnType<Calls[M]>>>;
};

const PKCS8_BYTES = 67;
const PAGE = 'bkv.page.';

const failure = (method: string, reason: TokenReason) => new TokenError(`${method}: ${reason}`, reason);
const pointOf = (scalar: Uint8Array): Uint8Array => p256.getPublicKey(scalar, false);
function unwrap(key: Uint8Array, wrapped: Uint8Array): Uint8Array {
  const cipher = createDecipheriv('id-aes256-wrap-pad', key, Buffer.from('a65959a6', 'hex'));
  const pkcs8 = Buffer.concat([cipher.update(wrapped), cipher.final()]);
  if (pkcs8.length !== PKCS8_BYTES) throw failure('unwrap', 'CKR_WRAPPED_KEY_INVALID');
  return Uint8Array.from(pkcs8.subarray(-32));
}

/**
 * Every operation of the token in software, in memory, for tests of the vault that need no module. It
 * protects nothing.
 */
export class MemoryToken implements Token {
  state: Token['state'] = 'up';
  worn = false;
  awayReason: string | undefined;
  writeTrouble: string | undefined;
  /** operations that fail, as on a token whose device is broken */
  readonly failing = new Set<keyof Calls>();
  readonly store = new MemoryStore();
  readonly #static = p256.utils.randomSecretKey();
  readonly #wrapKey = randomBytes(32);
  readonly #root = randomBytes(32);
  #onReopen: () => void = () => undefined;

  get serverPublicKey(): Uint8Array {
    return p256.getPublicKey(this.#static, true);
  }

  async call<M extends keyof Calls>(method: M, ...args: Parameters<Calls[M]>): Promise<ReturnType<Calls[M]>> {
    if (this.state !== 'up') throw failure(method, 'BKV_AWAY');
    if (this.failing.has(method)) throw failure(method, 'CKR_DEVICE_ERROR');
    const run = this.#soft[method] as (...args: Parameters<Calls[M]>) => Promise<ReturnType<Calls[M]>>;
    return run(...args);
  }

  generatePageKey(label: string): Promise<void> {
    return this.store.generatePageKey(label);
  }

  destroyPageKey(label: string): Promise<void> {
    return this.store.destroyPageKey(label);
  }

  async listPageKeys(): Promise<PageKey[]> {
    return (await this.store.listPageKeys()).map(({ label }) => ({ label, handles: [label] }));
  }

  onReopen(listener: () => void): void {
    this.#onReopen = listener;
  }

  leave(): void {}

  async refresh(): Promise<void> {}

  /** The token goes away, or comes back. */
  goes(state: 'away' | 'up'): void {
    this.state = state;
    if (state === 'up') this.#onReopen();
  }

  #hmac(label: string, data: Uint8Array): Uint8Array {
    if (label.startsWith(PAGE) && !this.store.keys.has(label)) throw failure('hmac', 'BKV_KEY');
    const key =
      label === KEY_LABELS.ledger
        ? this.store.macKey
        : createHmac('sha256', this.#root).update(label).digest();
    return Uint8Array.from(createHmac('sha256', key).update(data).digest());
  }

  #scalarOf(key: PrivateKey): Uint8Array {
    if ('label' in key) return this.#static;
    if ('scalar' in key) return key.scalar;
    const scalar = unwrap(this.#wrapKey, key.wrapped);
    if (!Buffer.from(p256.getPublicKey(scalar, key.publicKey.length === 33)).equals(key.publicKey))
      throw failure('multiply', 'BKV_KEY_PAIR');
    return scalar;
  }

  #wrapped(scalar: Uint8Array): WrappedKey {
    return { wrapped: wrapScalar(scalar, this.#wrapKey), publicKey: pointOf(scalar) };
  }

  readonly #soft: Soft = {
    login: (oprfKey, serverKey, request) => {
      const keyshare = p256.utils.randomSecretKey();
      const { KE2, expectedKE3 } = generateKE2({
        ...request,
        serverPublicKey: p256.getPublicKey(this.#scalarOf(serverKey), true),
        evaluatedElement: times(this.#scalarOf(oprfKey), request.blindedElement),
        serverKeyshare: p256.getPublicKey(keyshare, true),
        dh1: times(keyshare, request.clientKeyshare),
        dh2: times(this.#scalarOf(serverKey), request.clientKeyshare),
        dh3: times(keyshare, parseRegistrationRecord(request.record).clientPublicKey),
        maskingNonce: randomBytes(32),
        serverNonce: randomBytes(32),
      });
      return { KE2, expectedKE3 };
    },
    multiply: (key, element) => times(this.#scalarOf(key), element),
    generateWrapped: () => this.#wrapped(p256.utils.randomSecretKey()),
    importShare: (transport, { keyshare, wrapped, publicKey }) => {
      const shared = times(unwrap(this.#wrapKey, transport.wrapped), keyshare).subarray(1);
      try {
        const share = this.#wrapped(unwrap(shared, wrapped));
        if (Buffer.from(share.publicKey).equals(publicKey)) return share.wrapped;
      } catch {}
      throw new InvalidInput('no such share');
    },
    hmac: (label, data) => this.#hmac(label, data),
    probe: () => undefined,
    publicKey: () => p256.getPublicKey(this.#static, true),
    wrapForBackup: () => new Uint8Array(384),
    generatePageKey: async (label) => {
      await this.store.generatePageKey(label);
      return label;
    },
    destroyPageKey: (label) => this.store.destroyPageKey(label),
    listPageKeys: () => this.listPageKeys(),
    createData: (label, value) => this.store.plant(label, value),
    supersede: () => undefined,
    destroyData: (handle) => this.store.destroyData(handle),
    listData: (prefix) => this.store.listData(prefix),
    replaceData: (label, value, superseded, writer) =>
      this.store.replaceData(label, value, superseded, writer),
  };
}
