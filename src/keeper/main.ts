/** `bkv keeper`: the process that is logged in to the token. What it loads is pinned by test/processes.test.ts. */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { loadConfig } from '../config/index.js';
import { harden, makeFolder } from '../process/index.js';
import { CodedError } from '../protocol/terms.js';
import { log } from './log/index.js';
import { keep } from './service.js';
import { expectRoomForSockets } from './socket/index.js';

/** Runs the keeper until it is to stop. @throws CodedError */
export async function runKeeper(args: string[]): Promise<void> {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({ args, options: { config: text, data: text, sockets: text, listen: text } });
  if (!values.sockets) throw new CodedError('usage', 'name the folder of the sockets: --sockets FOLDER');
  expectRoomForSockets(values.sockets);
  harden(log.warn);
  const data = resolve(values.data ?? 'data');
  process.env.BKV_DATA = data;
  makeFolder(data);
  await keep(loadConfig(values.config, { listen: values.listen }), data, values.sockets);
}
