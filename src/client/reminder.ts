import { argon2id } from 'hash-wasm';
import { equal } from '../opaque/index.js';
import { preparePassword } from './password.js';

const SALT = 16;
const HASH = 32;

async function hash(password: string, salt: Uint8Array): Promise<Uint8Array> {
  const secret = preparePassword(password);
  try {
    // As for the vault: 3 passes, 64 MiB, 4 lanes.
    return await argon2id({
      password: secret,
      salt,
      iterations: 3,
      memorySize: 65_536,
      parallelism: 4,
      hashLength: HASH,
      outputType: 'binary',
    });
  } finally {
    secret.fill(0);
  }
}

/**
 * What a device keeps to ask later "do you still know your password?" without the vault: 48 bytes. Who steals it can
 * guess at it, so keep it where the backup key itself lies on this device.
 */
export async function makeReminder(password: string): Promise<Uint8Array> {
  const salt = crypto.getRandomValues(new Uint8Array(SALT));
  const reminder = new Uint8Array(SALT + HASH);
  reminder.set(salt);
  reminder.set(await hash(password, salt), SALT);
  return reminder;
}

/** Whether the password is the one that the reminder was made of. Spends no attempt. */
export async function isRemembered(reminder: Uint8Array, password: string): Promise<boolean> {
  return equal(await hash(password, reminder.subarray(0, SALT)), reminder.subarray(SALT));
}
