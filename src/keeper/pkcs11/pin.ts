import { lstatSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { whoElseReads } from '../../process/index.js';
import { ProfileError, ReadableByOthers } from './errors.js';
import type { PinSource, Profile } from './profile.js';

/** Whether one of the profile's sources has a PIN. @throws ProfileError when others can read it */
export const hasPin = (profile: Profile): boolean => Boolean(lookForPin(profile));

/** Reads the user PIN from the first of the profile's sources that exists. @throws ProfileError */
export function readPin(profile: Profile): string {
  const pin = lookForPin(profile);
  if (pin) return pin;
  const tried = profile.pin.map((source) => Object.entries(source)[0]?.join(' ')).join(', ');
  throw new ProfileError(
    pin === undefined
      ? `${profile.name}: no PIN found (looked for ${tried})`
      : `${profile.name}: the PIN is empty (looked for ${tried}); none was tried`,
  );
}

/** @returns undefined when no source exists */
function lookForPin(profile: Profile): string | undefined {
  for (const source of profile.pin) {
    if ('held' in source) return source.held;
    const pin = 'env' in source ? process.env[source.env] || undefined : readPinFile(pathOf(source));
    if (pin !== undefined) return pin;
  }
  return undefined;
}

function pathOf(source: Exclude<PinSource, { env: string } | { held: string }>): string | undefined {
  if ('file' in source) return source.file;
  const { CREDENTIALS_DIRECTORY: folder } = process.env;
  return folder && join(folder, source.credential);
}

function readPinFile(path: string | undefined): string | undefined {
  if (!path) return undefined;
  try {
    if (!lstatSync(path, { throwIfNoEntry: false })) return undefined;
    if (!statSync(path).isFile())
      throw new ProfileError(`${path}: this is a folder, or a device: name the file that holds the PIN`);
    const others = whoElseReads(path);
    if (others)
      throw new ReadableByOthers(
        `${path}: others can read this PIN file (${others}). Run: chmod 600 ${path}`,
      );
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (error instanceof ProfileError || !code) throw error;
    throw new ProfileError(`${path}: the PIN cannot be read (${code})`);
  }
}
