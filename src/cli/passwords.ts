import { statSync } from 'node:fs';
import { looksLikeKey, passwordStrength, preparePassword } from '../client/index.js';
import { UsageError } from './errors.js';
import { readText } from './file.js';
import { isInteractive, readSecret } from './terminal.js';

const WORDS = ['very weak', 'weak', 'fair', 'good', 'strong'];
const TRIES = 3;

/** Refuses what cannot be a password, before a vault counts an attempt. @throws UsageError, BkvError */
function checked(password: string): string {
  preparePassword(password).fill(0);
  if (looksLikeKey(password))
    throw new UsageError(
      'these look like the 64 digits of a key, and not like a password; they were not sent. A key needs no vault: give it to bkv restore',
    );
  return password;
}

/** The password that an account has, asked for on the terminal, or taken from a line of standard input. */
export const readOldPassword = async (prompt = 'Password: '): Promise<string> =>
  checked(await readSecret(prompt));

/** The password, from a file or asked for like any secret. */
export async function readPassword({ passwordFile }: { passwordFile?: string }): Promise<string> {
  if (passwordFile === undefined) return readOldPassword();
  const text = readText(passwordFile);
  if (statSync(passwordFile).mode & 0o077)
    throw new UsageError(`others can read ${passwordFile}. Run: chmod 600 ${passwordFile}`);
  return checked(text.replace(/\r?\n$/, ''));
}

/** @throws UsageError when it is too weak, or typed differently the second time */
async function askOnce(least: number): Promise<string> {
  const password = checked(await readSecret('New password: '));
  const { score, advice } = await passwordStrength(password);
  const why = advice.join(' ');
  if (score < least)
    throw new UsageError(
      score === 0
        ? `this password is among the first that are guessed. ${why}`
        : `this password is ${WORDS[score]}, and must be ${WORDS[least]} here. ${why}`,
    );
  process.stderr.write(`This password is ${WORDS[score]}. ${why}`.trimEnd().concat('\n'));
  if (isInteractive() && (await readSecret('Once more:    ')) !== password)
    throw new UsageError('the two passwords differ');
  return password;
}

/**
 * Asks for a new password, twice on a terminal, and says how strong it is. The user may try three times.
 * @param least the lowest accepted score, 0 to 4
 * @throws UsageError when it is too weak; BkvError as preparePassword
 */
export async function readNewPassword(least = 1): Promise<string> {
  // The word lists are loaded now: otherwise the terminal would echo what is typed while they load between
  // the two prompts.
  await passwordStrength('');
  for (let tries = isInteractive() ? TRIES : 1; ; tries--) {
    try {
      return await askOnce(least);
    } catch (error) {
      const again = error instanceof UsageError || (error as { code?: string }).code?.endsWith('Password');
      if (tries === 1 || !again) throw error;
      process.stderr.write(`${(error as Error).message}\n`);
    }
  }
}
