import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { embeddedFiles } from '../config/index.js';
import { writeFileAtomic } from '../process/index.js';

/** Makes what the embedded token lacks in its data folder: a home for SoftHSM2, and random PINs. The keeper makes the token. */
export async function prepareEmbedded(data: string): Promise<void> {
  const files = embeddedFiles(data);
  mkdirSync(files.tokens, { recursive: true, mode: 0o700 });
  if (!existsSync(files.softhsm))
    await writeFileAtomic(files.softhsm, `directories.tokendir = ${files.tokens}\nlog.level = ERROR\n`);
  for (const file of [files.pin, files.soPin])
    if (!existsSync(file)) await writeFileAtomic(file, randomBytes(16).toString('base64url'));
}
