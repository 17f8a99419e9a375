import type { Finding, Profile, TokenError } from '../pkcs11/index.js';
import { TokenPool } from './pool.js';

/** Tries two sessions on two threads, as a daemon has them, where the token has the vault's keys. */
export async function tryThreads(profile: Profile): Promise<Finding> {
  const name = 'two sessions on two threads';
  try {
    const pool = await TokenPool.open({ ...profile, sessions: 2, requireNonExportable: false });
    const shared = pool.sharesHandles;
    await pool.close();
    const detail = shared
      ? 'a handle is valid in both sessions'
      : 'a handle is valid only in the session it came from: one session writes the counters';
    return { name, result: 'works', detail };
  } catch (error) {
    const { reason, message } = error as TokenError;
    if (reason === 'BKV_KEY' || reason === 'BKV_UNSAFE_KEY')
      return { name, result: 'note', detail: 'to be tried once bkv token init has made the keys' };
    return { name, result: 'missing', detail: message };
  }
}
