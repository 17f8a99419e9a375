import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * A path below this user's home; `undefined` if there is no home folder, as for some users of services and
 * containers.
 */
export function inHome(...names: string[]): string | undefined {
  try {
    return join(homedir(), ...names);
  } catch {
    return undefined;
  }
}
