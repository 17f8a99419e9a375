import { createHmac } from 'node:crypto';

/** An account as the identity provider names it. */
export interface AccountId {
  /** `iss` of the access token */
  readonly issuer: string;
  /** `sub` of the access token, 1 to 256 characters */
  readonly subject: string;
  /** names the request in the audit log, as in the lines of the HTTP side */
  readonly requestId?: string;
}

/** An account, by its id and by the name that database and logs have. */
export interface Account {
  readonly name: string;
  readonly subject: string;
  readonly requestId: string | undefined;
}

/** An account, and the request that asks for it. */
export type Asked = Pick<Account, 'name' | 'requestId'>;

/**
 * The names of accounts in database, logs and audit log. Without the token's key nobody can test ids against
 * them.
 */
export class AccountNames {
  readonly #key: Uint8Array;

  /** @param key 32 bytes, derived from a key of the token; zeroed by {@link close} */
  constructor(key: Uint8Array) {
    this.#key = key;
  }

  /** HMAC-SHA-256 over issuer and subject, each preceded by its length (4 bytes): 64 hexadecimal digits. */
  of({ issuer, subject }: AccountId): string {
    const hmac = createHmac('sha256', this.#key);
    for (const part of [issuer, subject]) {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(Buffer.byteLength(part));
      hmac.update(length).update(part);
    }
    return hmac.digest('hex');
  }

  close(): void {
    this.#key.fill(0);
  }
}
