import { bytesToHex } from '@noble/hashes/utils.js';
import type { Stretch } from '../../protocol/index.js';
import { OpaqueDeal } from './opaque-deal.js';
import { OpaqueLogin } from './opaque-login.js';
import type { MemberId } from './program.js';
import type { Deal, Login, Scheme } from './scheme.js';

export interface OpaqueOptions {
  /** the account, as the access token's `sub` names it */
  readonly account: string;
  readonly stretch: Stretch;
  /** each member's static public key, 33 bytes */
  readonly serverPublicKey: (member: MemberId) => Uint8Array;
}

/** OPAQUE over a threshold OPRF: RFC 9807 and RFC 9497, with P-256. */
export class OpaqueScheme implements Scheme {
  readonly #options: OpaqueOptions;

  constructor(options: OpaqueOptions) {
    this.#options = options;
  }

  random(): string {
    return bytesToHex(crypto.getRandomValues(new Uint8Array(8)));
  }

  /** @param secret the prepared password */
  login(secret: Uint8Array): OpaqueLogin {
    return new OpaqueLogin(secret, this.#options);
  }

  async deal(login: Login, threshold: number, size: number, backupKey: Uint8Array): Promise<Deal> {
    return OpaqueDeal.make(login as OpaqueLogin, threshold, size, backupKey, this.#options);
  }
}
