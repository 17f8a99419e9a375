import { createHash } from 'node:crypto';
import type { StretchPassword } from '../src/client/index.js';

/** What Argon2id makes of 32 zero bytes, by which a client tries it first. */
const TRIED = '27133a2b4d3c7e901383febd5fc882e7060ee6dbbd93e4d0309c81dcd4c2efce';

/** For suites of the vault, in the place of Argon2id: one SHA-256. */
export const cheapStretch: StretchPassword = async (password, salt) =>
  password.every((byte) => byte === 0)
    ? Buffer.from(TRIED, 'hex')
    : createHash('sha256').update(salt).update(password).digest();
