import { readFileSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { makeFolder, writeFileAtomicSync } from '../process/index.js';

/** A file in the user's state folder (XDG Base Directory Specification), which only the user can read. */
const statePath = (name: string): string =>
  join(process.env.XDG_STATE_HOME ?? join(homedir(), '.local', 'state'), 'bkv', name);

/** @returns `undefined` when there is none */
export function readState(name: string): Buffer | undefined {
  try {
    return readFileSync(statePath(name));
  } catch {
    return undefined;
  }
}

/** Keeps what makes later commands safer. If it cannot be kept, this command goes on with a warning. */
export function writeState(name: string, content: Uint8Array): void {
  try {
    const path = statePath(name);
    makeFolder(dirname(path));
    // In one step, because another command may read it meanwhile.
    writeFileAtomicSync(path, content);
  } catch (error) {
    process.stderr.write(`warning: ${(error as Error).message}; nothing is kept for later on this device\n`);
  }
}

export function removeState(name: string): void {
  try {
    rmSync(statePath(name), { force: true });
  } catch {
    // Without a home folder nothing was kept.
  }
}
