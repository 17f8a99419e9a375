import { createECDH } from 'node:crypto';
import { InvalidInput } from '../elements/index.js';
import type { Evaluation } from './evaluation.js';
import { type WrappedKey, type Wrapping, wrapScalar } from './wrapping.js';

/** A share of a fleet's key, on its way from the client that made it. Byte lengths in brackets. */
export interface TravellingShare {
  /** the client's point X (65), which the wrapping key is derived from */
  readonly keyshare: Uint8Array;
  /** the share as PKCS#8, under x(X·E) (RFC 5649; 80) */
  readonly wrapped: Uint8Array;
  /** share·G, as the client says (65) */
  readonly publicKey: Uint8Array;
}

/** Takes in shares that clients make for this token. */
export class Shares {
  readonly #wrapping: Wrapping;
  readonly #evaluation: Evaluation;

  constructor(wrapping: Wrapping, evaluation: Evaluation) {
    this.#wrapping = wrapping;
    this.#evaluation = evaluation;
  }

  /**
   * @param transport the pair E that the token made for this share @returns the share under `bkv.wrap`, 80
   * bytes; the host never sees it in clear @throws InvalidInput when the share was not wrapped for E and X,
   * or does not match its public key
   */
  take(transport: WrappedKey, share: TravellingShare): Uint8Array {
    try {
      return this.#take(transport, share);
    } catch (error) {
      // A module's error does not distinguish a bad share from a failure of the module. So a share that is
      // known to be good is tried.
      this.#takeGood(transport, error);
      throw new InvalidInput(
        'the share was not wrapped for this registration, or does not match its public key',
      );
    }
  }

  #take(transport: WrappedKey, { keyshare, wrapped: travelling, publicKey }: TravellingShare): Uint8Array {
    const wrapped = this.#wrapping.importShare(transport, keyshare, travelling);
    // An evaluation that ends on the curve proves that the share matches the public key. With an element that
    // the client chose it would not: the evaluation of G is the public key itself.
    this.#evaluation.multiply({ wrapped, publicKey }, newPair().getPublicKey());
    return wrapped;
  }

  #takeGood(transport: WrappedKey, error: unknown): void {
    const [client, share] = [newPair(), newPair()];
    const scalar = Buffer.from(share.getPrivateKey('hex').padStart(64, '0'), 'hex');
    try {
      this.#take(transport, {
        keyshare: client.getPublicKey(),
        wrapped: wrapScalar(scalar, client.computeSecret(transport.publicKey)),
        publicKey: share.getPublicKey(),
      });
    } catch {
      throw error;
    }
  }
}

function newPair() {
  const pair = createECDH('prime256v1');
  pair.generateKeys();
  return pair;
}
