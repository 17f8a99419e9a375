import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

/** A file in the user's state folder (XDG Base Directory Specification), which only the user reads. */
export const statePath = (name: string): string =>
  join(process.env.XDG_STATE_HOME ?? join(homedir(), '.local', 'state'), 'bkv', name);

/** @returns `undefined` when there is none */
export function readState(name: string): Buffer | undefined {
  try {
    return readFileSync(statePath(name));
  } catch {
    return undefined;
  }
}

export function writeState(name: string, content: Uint8Array): void {
  mkdirSync(dirname(statePath(name)), { recursive: true, mode: 0o700 });
  writeFileSync(statePath(name), content, { mode: 0o600 });
}
