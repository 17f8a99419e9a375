import { readFile } from 'node:fs/promises';
import type { JSONWebKeySet, JWTVerifyGetKey } from 'jose';
import * as errors from 'jose/errors';
import { createLocalJWKSet } from 'jose/jwks/local';
import { CodedError } from '../../protocol/terms.js';
import { log } from '../log/index.js';

/**
 * Keys that are older than this, in milliseconds, are read again. Known keys stay valid until new ones are
 * there.
 */
const AGE_MS = 600_000;
/** Least milliseconds between two searches for an unknown key. */
const LOOK_MS = 5000;
const TIMEOUT_MS = 5000;
/** most bytes of a key set */
const LARGEST = 1_000_000;

/** Whether the keys are asked for over the network. */
export const isUrl = (where: string): boolean => /^https?:/.test(where);

/** @throws Error for anything but a key set: an error page, a redirect, a file that is gone */
async function read(where: string): Promise<JWTVerifyGetKey> {
  const text = isUrl(where) ? await download(where) : await readFile(where, 'utf8');
  return createLocalJWKSet(JSON.parse(text) as JSONWebKeySet);
}

async function download(url: string): Promise<string> {
  const response = await fetch(url, {
    redirect: 'error',
    headers: { accept: 'application/json' },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += part.length;
    // An answer without end must not be read until the time is over.
    if (bytes > LARGEST) throw new Error('too large');
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

/**
 * The identity provider's keys, from a URL or a file. Known keys stay valid while the provider cannot be
 * reached. @throws CodedError unavailable when the key may exist but cannot be read now; jose's
 * JWKSNoMatchingKey
 */
export function keySource(where: string): JWTVerifyGetKey {
  let keys: JWTVerifyGetKey | undefined;
  let readAt = Number.NEGATIVE_INFINITY;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let failed = false;
  let looking: Promise<void> | undefined;

  const look = (): Promise<void> => {
    looking ??= read(where)
      .then(
        (fresh) => {
          keys = fresh;
          readAt = performance.now();
          failed = false;
        },
        (error: Error) => {
          failed = true;
          log.warn('the keys of the identity provider cannot be read', { reason: error.message });
        },
      )
      .finally(() => {
        lookedAt = performance.now();
        looking = undefined;
      });
    return looking;
  };
  const mayLook = () => looking || performance.now() - lookedAt > LOOK_MS;

  /** `undefined` when no known key matches and more may be known later. */
  const find = async (...call: Parameters<JWTVerifyGetKey>) => {
    try {
      return await keys?.(...call);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      return undefined;
    }
  };

  return async (...call) => {
    if (keys && performance.now() - readAt > AGE_MS && mayLook()) void look();
    const known = await find(...call);
    if (known) return known;
    if (mayLook()) await look();
    const fresh = await find(...call);
    if (fresh) return fresh;
    if (keys && !failed) throw new errors.JWKSNoMatchingKey();
    throw new CodedError('unavailable', 'the keys of the identity provider cannot be read now; try again', {
      retryAfter: 5,
    });
  };
}
