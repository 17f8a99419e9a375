/** Elements of P-256 as messages carry them. What the keeper's callers need of it loads neither token nor curve. */
import { ECDH } from 'node:crypto';
import { CodedError, SIZES } from '../../protocol/terms.js';

/** Bytes from outside that are invalid: not a point of P-256 in SEC1 form, the identity, or not a share. */
export class InvalidInput extends CodedError {
  constructor(message: string) {
    super('invalid-message', message);
  }
}

/** The client's first message and, uncompressed, the elements in it. */
export interface Login {
  /** 98 bytes */
  readonly KE1: Uint8Array;
  /** 65 bytes */
  readonly blindedElement: Uint8Array;
  /** 65 bytes */
  readonly clientKeyshare: Uint8Array;
}

/** @param KE1 98 bytes (RFC 9807, section 6.1) @throws InvalidInput when it holds no elements */
export const readLogin = (KE1: Uint8Array): Login => ({
  KE1,
  blindedElement: decompress(KE1.subarray(0, SIZES.element)),
  clientKeyshare: decompress(KE1.subarray(-SIZES.element)),
});

/**
 * Checks that `bytes` (33, SEC1 compressed) is a point of P-256 and returns it uncompressed (65 bytes).
 * The identity has no such form, so it is refused too. @throws InvalidInput
 */
export function decompress(bytes: Uint8Array): Uint8Array {
  if (bytes.length !== SIZES.element)
    throw new InvalidInput(`a P-256 element has ${SIZES.element} bytes, not ${bytes.length}`);
  try {
    return ECDH.convertKey(bytes, 'prime256v1', undefined, undefined, 'uncompressed') as Buffer;
  } catch {
    throw new InvalidInput('the bytes are not a point of P-256');
  }
}

/** A point of P-256 in its short SEC1 form, 33 bytes, from the long one (65). */
export const compress = (uncompressed: Uint8Array): Uint8Array =>
  Uint8Array.of(2 + ((uncompressed[64] as number) & 1), ...uncompressed.subarray(1, 33));
