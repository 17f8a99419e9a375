import { aeskwp } from '@noble/ciphers/aes.js';
import { hexToBytes } from '@noble/hashes/utils.js';
import {
  createRecord,
  dealKey,
  equal,
  evaluate,
  finishMac,
  forget,
  identities,
  newKeyPair,
  pkcs8,
  registrationKeys,
  type Share,
  sharedX,
  startMac,
  xOf,
} from '../../protocol/index.js';
import { bytes } from '../answers.js';
import { sealKey } from '../sealed-key.js';
import type { OpaqueOptions } from './opaque.js';
import { combination, type Element, type OpaqueLogin } from './opaque-login.js';
import type { MemberId, Opaque } from './program.js';
import type { Deal, Offered } from './scheme.js';

/** What goes to a member at the start of a registration: X, 33 bytes. */
export type KeyShare = Uint8Array;
/** What it answers, parsed. */
export interface ShareOffer {
  /** E, 33 bytes: a pair that its token made for this share */
  readonly transportKey: Uint8Array;
  readonly limit: number;
  /** start MAC, 32 bytes */
  readonly mac: Uint8Array;
}
/** What it is to keep. Byte lengths: sharePublicKey 33, wrappedShare 80, registrationRecord 129, mac 32. */
export interface ShareMessage {
  readonly sharePublicKey: Uint8Array;
  readonly wrappedShare: Uint8Array;
  readonly registrationRecord: Uint8Array;
  readonly encryptedBackupKey: Uint8Array;
  readonly mac: Uint8Array;
}

/** The client's side of one registration: a fresh pair (x, X), and the MACs' keys that X and the member's S agree on. */
interface Handshake {
  readonly secretKey: Uint8Array;
  readonly keyshare: KeyShare;
  readonly keys: ReturnType<typeof registrationKeys>;
}

const NONE = new Uint8Array(0);

/** Shares of a fresh key, each on its way to one member alone: docs/protocol.md. */
export class OpaqueDeal implements Deal {
  readonly #options: OpaqueOptions;
  readonly #shares: readonly Share[];
  readonly #randomized: Uint8Array;
  readonly #backupKey: Uint8Array;
  readonly #handshakes = new Map<MemberId, Handshake>();

  private constructor(
    readonly combination: Element,
    shares: readonly Share[],
    randomized: Uint8Array,
    backupKey: Uint8Array,
    options: OpaqueOptions,
  ) {
    this.#shares = shares;
    this.#randomized = randomized;
    this.#backupKey = backupKey;
    this.#options = options;
  }

  static async make(
    login: OpaqueLogin,
    threshold: number,
    size: number,
    backupKey: Uint8Array,
    options: OpaqueOptions,
  ): Promise<OpaqueDeal> {
    const { key, shares } = dealKey(threshold, size);
    const element = evaluate(key, login.blindedElement);
    key.fill(0);
    try {
      const randomized = await login.randomized(element);
      return new OpaqueDeal(combination(element, []), shares, randomized, backupKey, options);
    } catch (error) {
      for (const { scalar } of shares) scalar.fill(0);
      throw error;
    }
  }

  offer(member: MemberId): KeyShare {
    const { secretKey, publicKey } = newKeyPair();
    const keys = registrationKeys(sharedX(secretKey, this.#options.serverPublicKey(member)));
    this.#handshakes.set(member, { secretKey, keyshare: publicKey, keys });
    return publicKey;
  }

  /** @param answer a {@link ShareOffer} */
  async share(member: MemberId, offered: Offered, answer: Opaque): Promise<ShareMessage | undefined> {
    const { transportKey, limit, mac } = answer as ShareOffer;
    const { dealing, index, registrationId } = offered;
    const { secretKey, keyshare, keys } = this.#handshakes.get(member) as Handshake;
    const serverPublicKey = this.#options.serverPublicKey(member);
    const { account } = this.#options;
    const expected = startMac(keys.start, {
      serverPublicKey,
      keyshare,
      account,
      registrationId: bytes('registrationId', registrationId, 16),
      blindedElement: NONE,
      evaluatedElement: NONE,
      transportKey,
      limit,
      dealt: { dealing: hexToBytes(dealing), index },
    });
    // If E were S or X, the share would be wrapped under the secret that the MACs' keys are derived from.
    const isOwn = [serverPublicKey, keyshare].some((other) => equal(xOf(other), xOf(transportKey)));
    if (isOwn || !equal(mac, expected)) return undefined;
    const { registrationRecord, exportKey } = createRecord(
      this.#randomized,
      serverPublicKey,
      identities(account, serverPublicKey),
    );
    const encryptedBackupKey = await sealKey(exportKey, this.#backupKey);
    const { scalar, publicKey } = this.#shares[index - 1] as Share;
    const share = {
      publicKey,
      wrapped: wrapShare(sharedX(secretKey, transportKey), scalar),
    };
    return {
      sharePublicKey: publicKey,
      wrappedShare: share.wrapped,
      registrationRecord,
      encryptedBackupKey,
      mac: finishMac(keys.finish, expected, { registrationRecord, encryptedBackupKey, share }),
    };
  }

  wipe(): void {
    for (const { scalar } of this.#shares) scalar.fill(0);
    for (const { secretKey, keys } of this.#handshakes.values()) {
      secretKey.fill(0);
      forget(keys);
    }
  }
}

/** @param aes AES-256 key, zeroed here @returns the share (32 bytes) as PKCS#8 under it (RFC 5649), 80 bytes */
function wrapShare(aes: Uint8Array, scalar: Uint8Array): Uint8Array {
  const key = pkcs8(scalar);
  const wrapped = aeskwp(aes).encrypt(key);
  for (const secret of [aes, key]) secret.fill(0);
  return wrapped;
}
