import type { Stretch } from '../protocol/index.js';
import { toBase64url } from './connection.js';

/**
 * Stretches each OPRF output only once: the login after a registration, and every vault of a fleet, need the
 * same result.
 */
export function stretchedOnce(stretch: Stretch): Stretch {
  const known = new Map<string, Promise<Uint8Array>>();
  return async (output) => {
    const name = toBase64url(output);
    const made = known.get(name) ?? stretch(output);
    known.set(name, made);
    // A copy, since it is zeroed later. An app may pass a Node.js Buffer, whose `slice` does not copy.
    return Uint8Array.from(await made);
  };
}
