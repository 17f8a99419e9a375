import { resolve } from 'node:path';
import { embeddedProfile, loadProfile, type Profile } from '../keeper/pkcs11/index.js';

/** Where a command finds its token: a profile, or the embedded one of a data folder. */
export interface TokenFlags {
  readonly profile?: string;
  readonly data: string;
}

/** @throws ProfileError */
export function profileOf({ profile, data }: TokenFlags): Profile {
  if (!profile) return embeddedProfile(resolve(data));
  process.env.BKV_DATA = resolve(data);
  return loadProfile(profile);
}
