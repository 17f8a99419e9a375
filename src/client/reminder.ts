import { equal } from '../protocol/index.js';
import { preparePassword } from './password.js';
import { argon2 } from './stretching.js';

const SALT = 16;

async function hash(password: string, salt: Uint8Array): Promise<Uint8Array> {
  const secret = preparePassword(password);
  try {
    return await argon2(secret, salt);
  } finally {
    secret.fill(0);
  }
}

/**
 * What a device keeps so that it can later ask "do you still know your password?" without the vault: 48
 * bytes. Whoever steals it can guess at the password, so keep it where this device keeps the backup key
 * itself.
 */
export async function makeReminder(password: string): Promise<Uint8Array> {
  const salt = crypto.getRandomValues(new Uint8Array(SALT));
  return Uint8Array.from([...salt, ...(await hash(password, salt))]);
}

/** Whether the password is the one that the reminder was made from. Spends no attempt. */
export async function isRemembered(reminder: Uint8Array, password: string): Promise<boolean> {
  return equal(await hash(password, reminder.subarray(0, SALT)), reminder.subarray(SALT));
}
