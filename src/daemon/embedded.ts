import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { embeddedFiles } from '../config/index.js';
import { makeFolder, writeFileAtomic } from '../process/index.js';

/**
 * Prepares a data folder for a token: its folder, and random PINs. The keeper makes the token. A token that
 * already exists keeps its PIN, because a new one would not open it.
 */
export async function prepareEmbedded(data: string): Promise<void> {
  const files = embeddedFiles(data);
  makeFolder(files.tokens);
  if (readdirSync(files.tokens).length > 0) return;
  for (const file of [files.pin, files.soPin])
    if (!existsSync(file)) await writeFileAtomic(file, randomBytes(16).toString('base64url'));
}
