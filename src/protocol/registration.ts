import { WIRE_VERSION } from './sizes.js';
import { bytes, concat, hkdfExpand, hkdfExtract, mac, prefixed } from './suite.js';

// The two MACs that make a registration one exchange between the client and the vault whose key is pinned. Whoever stands
// between the two can only pass on their messages, and can alter none of them. docs/protocol.md has every byte.

/** A start of a registration and the vault's answer. Elements have 33 bytes. */
export interface RegistrationStart {
  readonly serverPublicKey: Uint8Array;
  /** X, the client's key share, fresh for this registration */
  readonly keyshare: Uint8Array;
  /** as the access token's `sub` names it */
  readonly account: string;
  /** 16 bytes */
  readonly registrationId: Uint8Array;
  /** empty for a dealt key */
  readonly blindedElement: Uint8Array;
  /** empty for a dealt key */
  readonly evaluatedElement: Uint8Array;
  /** E, which the share travels under; empty for a key of the vault's own */
  readonly transportKey: Uint8Array;
  /** wrong passwords until the account is locked, 1 to 200 */
  readonly limit: number;
  /** of a dealt key: which dealing, 16 bytes, and the share's index, 1 to N */
  readonly dealt?: { readonly dealing: Uint8Array; readonly index: number };
}

/** What the client sends to be kept. */
export interface RegistrationUpload {
  /** 129 bytes */
  readonly registrationRecord: Uint8Array;
  readonly encryptedBackupKey: Uint8Array;
  /**
   * whether the key that the account may have is given up for this one; a dealt key never replaces another
   */
  readonly replace?: boolean;
  /** of a dealt key: the wrapped share, and share·G (33 bytes) */
  readonly share?: { readonly wrapped: Uint8Array; readonly publicKey: Uint8Array };
}

const NOTHING = new Uint8Array(0);
const NAMED = 1;
const fields = (...all: readonly Uint8Array[]): Uint8Array => concat(...all.map(prefixed));

/**
 * The keys of both MACs, 32 bytes each.
 * @param shared x(s·X), 32 bytes, zeroed here: the vault computes it with its static key, the client with its
 * key share's secret
 */
export function registrationKeys(shared: Uint8Array): { start: Uint8Array; finish: Uint8Array } {
  const prk = hkdfExtract(shared, bytes('bkv registration 2'));
  shared.fill(0);
  const keys = { start: hkdfExpand(prk, bytes('start')), finish: hkdfExpand(prk, bytes('finish')) };
  prk.fill(0);
  return keys;
}

/** The vault's MAC over a start and its answer, 32 bytes: a client sends nothing more before it has checked it. */
export const startMac = (key: Uint8Array, start: RegistrationStart): Uint8Array =>
  mac(
    key,
    fields(
      Uint8Array.of(WIRE_VERSION),
      start.serverPublicKey,
      start.keyshare,
      bytes(start.account),
      start.registrationId,
      start.blindedElement,
      start.evaluatedElement,
      start.transportKey,
      Uint8Array.of(start.dealt ? 1 : 0),
      Uint8Array.of(NAMED),
      Uint8Array.of(start.limit),
      start.dealt?.dealing ?? NOTHING,
      Uint8Array.of(start.dealt?.index ?? 0),
    ),
  );

/** The client's MAC over what it sends to be kept, 32 bytes: the vault keeps nothing else. */
export const finishMac = (key: Uint8Array, started: Uint8Array, upload: RegistrationUpload): Uint8Array =>
  mac(
    key,
    fields(
      started,
      upload.registrationRecord,
      upload.encryptedBackupKey,
      upload.share?.wrapped ?? NOTHING,
      upload.share?.publicKey ?? NOTHING,
      Uint8Array.of(upload.replace ? 1 : 0),
    ),
  );

/** Zeroes the keys of a registration that has ended. */
export function forget(keys: { start: Uint8Array; finish: Uint8Array }): void {
  keys.start.fill(0);
  keys.finish.fill(0);
}
