import { existsSync, readFileSync } from 'node:fs';
import { EMBEDDED_PROFILE, embeddedFiles } from '../../config/index.js';
import { writeFileAtomicSync } from '../../process/index.js';
import { ProfileError } from './errors.js';
import { hasPin } from './pin.js';
import { loadProfile, type Profile } from './profile.js';

/**
 * The SoftHSM2 token of a data folder. The module is given the token's path below the present folder,
 * whatever SOFTHSM2_CONF says. So a copied or moved folder uses its own token.
 * @throws ProfileError when the folder has no place for a token, or the PIN is lost
 */
export function embeddedProfile(data: string): Profile {
  const { tokens, softhsm, pin } = embeddedFiles(data);
  if (!existsSync(tokens))
    throw new ProfileError(
      `${data} contains no vault. Name its token, with --profile FILE of a command or with "profile" of the configuration; or have "bkv serve --data ${data}" make a vault there for trials`,
    );
  const text = `directories.tokendir = ${tokens}\nlog.level = ERROR\n`;
  if (!existsSync(softhsm) || readFileSync(softhsm, 'utf8') !== text) writeFileAtomicSync(softhsm, text);
  Object.assign(process.env, { BKV_DATA: data, SOFTHSM2_CONF: softhsm });
  const profile = loadProfile(EMBEDDED_PROFILE);
  if (hasPin(profile)) return profile;
  throw new ProfileError(
    `${pin} is missing or empty, and no other PIN opens the token in ${tokens}. Put the file back; nothing was changed.`,
  );
}
