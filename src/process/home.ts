import { homedir } from 'node:os';
import { join } from 'node:path';

/** A path below this user's home; `undefined` for a user of a service or a container, who may have none. */
export function inHome(...names: string[]): string | undefined {
  try {
    return join(homedir(), ...names);
  } catch {
    return undefined;
  }
}
