import { createECDH, randomBytes } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import { generateKE2, type Identities, parseRegistrationRecord } from '../../protocol/index.js';
import { compress, InvalidInput, type Login } from '../elements/index.js';
import type { Binding } from './binding.js';
import { TokenError } from './errors.js';
import type { Keyring } from './keyring.js';
import { type Multiplicand, multiply, type PublicPoint, prepare } from './point.js';
import type { WrappedKey, Wrapping } from './wrapping.js';

/** A P-256 private key that a scalar multiplication uses. */
export type PrivateKey =
  /** a key pair in the token */
  | { readonly label: string }
  /** an account's key: unwrapped into a session object for this one use */
  | WrappedKey
  /**
   * a scalar (32 bytes) that the host may know (fake records, test vectors): it takes the same calls as a
   * wrapped key
   */
  | { readonly scalar: Uint8Array };

/** What a login is answered from. */
export interface LoginRequest extends Login, Identities {
  /** registration record, 129 bytes */
  readonly record: Uint8Array;
}

/** Values of a login's answer that test vectors choose, 32 bytes each. Otherwise they are random. */
export interface LoginRandomness {
  readonly keyshareSecret: Uint8Array;
  readonly maskingNonce: Uint8Array;
  readonly serverNonce: Uint8Array;
}

/** Scalar multiplications with keys that never leave the module. */
export class Evaluation {
  readonly #binding: Binding;
  readonly #keyring: Keyring;
  readonly #wrapping: Wrapping;

  constructor(binding: Binding, keyring: Keyring, wrapping: Wrapping) {
    this.#binding = binding;
    this.#keyring = keyring;
    this.#wrapping = wrapping;
  }

  /** k·M, 33 bytes (RFC 9497, section 3.3.1 BlindEvaluate). @throws InvalidInput */
  multiply(key: PrivateKey, element: Uint8Array): Uint8Array {
    const { multiplicands, publicPoints } = prepare([element], [this.#publicKeyOf(key)]);
    return this.#multiply(key, publicPoints[0], multiplicands[0]);
  }

  /**
   * GenerateKE2 (RFC 9807, section 6.2.2). It is made here, so that what Diffie-Hellman gives never leaves the
   * session's thread.
   * @returns KE2 (259 bytes), and the KE3 that proves the password (32 bytes)
   * @throws InvalidInput before any scalar is multiplied
   */
  login(oprfKey: PrivateKey, serverKey: PrivateKey, request: LoginRequest, chosen?: LoginRandomness) {
    const multiplied = this.#multiplyAll(oprfKey, serverKey, request, chosen?.keyshareSecret);
    const { KE2, expectedKE3, sessionKey } = generateKE2({
      ...request,
      ...multiplied,
      serverPublicKey: compress(this.#publicKeyOf(serverKey)),
      maskingNonce: chosen?.maskingNonce ?? randomBytes(32),
      serverNonce: chosen?.serverNonce ?? randomBytes(32),
    });
    for (const secret of [multiplied.dh1, multiplied.dh2, multiplied.dh3, sessionKey]) secret.fill(0);
    return { KE2, expectedKE3 };
  }

  /**
   * Every scalar multiplication of a login's answer, 33 bytes each. The server's keyshare is a key pair that
   * exists for this call only, in the host's memory.
   */
  #multiplyAll(
    oprfKey: PrivateKey,
    serverKey: PrivateKey,
    { blindedElement, clientKeyshare, record }: LoginRequest,
    keyshareSecret?: Uint8Array,
  ) {
    const keyshare = createECDH('prime256v1');
    if (keyshareSecret) keyshare.setPrivateKey(keyshareSecret);
    else keyshare.generateKeys();
    const {
      multiplicands: [blinded, ephemeral, long],
      publicPoints: [keysharePoint, oprfPoint, serverPoint],
    } = prepare(
      [blindedElement, clientKeyshare, parseRegistrationRecord(record).clientPublicKey],
      [keyshare.getPublicKey(), this.#publicKeyOf(oprfKey), this.#publicKeyOf(serverKey)],
    );
    const diffieHellman = (peer: Multiplicand) =>
      multiply((p) => keyshare.computeSecret(p), keysharePoint, peer);
    return {
      evaluatedElement: this.#multiply(oprfKey, oprfPoint, blinded),
      serverKeyshare: Uint8Array.from(keyshare.getPublicKey(null, 'compressed')),
      dh1: diffieHellman(ephemeral),
      dh2: this.#multiply(serverKey, serverPoint, ephemeral),
      dh3: diffieHellman(long),
    };
  }

  #publicKeyOf(key: PrivateKey): Uint8Array {
    if ('label' in key) return this.#keyring.point(key.label);
    return 'wrapped' in key ? key.publicKey : publicKeyOf(key.scalar);
  }

  #multiply(key: PrivateKey, publicPoint: PublicPoint, multiplicand: Multiplicand): Uint8Array {
    const multiplied = (handle: pkcs11.Handle) =>
      multiply((point) => deriveX(this.#binding, handle, point), publicPoint, multiplicand);
    if ('label' in key) return multiplied(this.#keyring.key(key.label));
    const handle =
      'wrapped' in key ? this.#wrapping.unwrap(key.wrapped) : this.#wrapping.importScalar(key.scalar);
    return this.#binding.using(handle, multiplied);
  }
}

/** x(k·P), 32 bytes. @param point P, 65 bytes */
export function deriveX(binding: Binding, key: pkcs11.Handle, point: Uint8Array): Uint8Array {
  const secret = binding.agree(key, point, [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
    { type: pkcs11.CKA_TOKEN, value: false },
    { type: pkcs11.CKA_SENSITIVE, value: false },
    { type: pkcs11.CKA_EXTRACTABLE, value: true },
    { type: pkcs11.CKA_VALUE_LEN, value: 32 },
  ]);
  return binding.using(secret, (handle) => fieldElement(binding.attribute(handle, pkcs11.CKA_VALUE)));
}

/** x as 32 bytes: some tokens strip its leading zero bytes. */
function fieldElement(x: Uint8Array): Uint8Array {
  if (x.length === 0 || x.length > 32)
    throw new TokenError(`the token derived ${x.length} bytes instead of 32`, 'BKV_DERIVE');
  const padded = new Uint8Array(32);
  padded.set(x, 32 - x.length);
  x.fill(0);
  return padded;
}

function publicKeyOf(scalar: Uint8Array): Uint8Array {
  const pair = createECDH('prime256v1');
  try {
    pair.setPrivateKey(scalar);
  } catch {
    throw new InvalidInput('the bytes are not a scalar of P-256');
  }
  return Uint8Array.from(pair.getPublicKey());
}
