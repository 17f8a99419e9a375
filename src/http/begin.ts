import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Config, loadConfig } from '../config/index.js';
import { harden, stopSignal, systemFault } from '../process/index.js';
import { CodedError } from '../protocol/terms.js';
import { log } from './log.js';

/** Reads the command line of a process of this folder. @returns its configuration, and the folder of the sockets */
export function begin(args: string[]): { config: Config; sockets: string } {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({ args, options: { config: text, sockets: text, listen: text, admin: text } });
  const { config: file, sockets, ...overrides } = values;
  if (!sockets) throw new CodedError('usage', 'name the folder of the sockets: --sockets FOLDER');
  harden((warning) => log.warn(warning));
  return { config: loadConfig(file, overrides), sockets };
}

const POLL_MS = 20;
/** Until it is told that the keeper is waited for, milliseconds: longer than a start takes. */
const TELL_MS = 3000;

/** Asks the keeper until it answers. @returns `undefined` when this process is to stop */
export async function untilThere<T>(ask: () => Promise<T>): Promise<T | undefined> {
  let tellAt = performance.now() + TELL_MS;
  while (!stopSignal.aborted) {
    let reason: string | undefined;
    const answer = await ask().catch((error: unknown) => {
      reason = systemFault(error) ?? (error as Error).message;
      return undefined;
    });
    if (answer) return answer;
    if (performance.now() > tellAt) {
      tellAt = Number.POSITIVE_INFINITY;
      log.warn('waiting for the keeper, which does not answer yet', { reason });
    }
    await setTimeout(POLL_MS);
  }
  return undefined;
}
