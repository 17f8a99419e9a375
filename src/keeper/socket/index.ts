import { CodedError } from '../../protocol/terms.js';
import type { KeeperApi } from '../vault/api.js';
import type { Shredded } from '../vault/index.js';
import { SocketClient } from './client.js';
import { ADMIN, ADMIN_ANSWER_LIMIT, ANSWER_LIMIT, API, type ArgumentsOf, type ResultOf } from './messages.js';

export { ADMIN, API } from './messages.js';
export { type Handlers, SocketServer } from './server.js';

/** The keeper's sockets in their folder. Each is in a folder of its own, whose permissions say who may call there. */
export const SOCKETS = { api: 'api/keeper.sock', admin: 'admin/keeper.sock' } as const;

/** Linux takes no more bytes in the path of a Unix socket, and Node.js cuts off what is more. */
const LONGEST_PATH = 107;

/** @throws CodedError usage when a folder's path leaves no room for the names of the sockets */
export function expectRoomForSockets(folder: string): void {
  const most = LONGEST_PATH - 1 - Math.max(...Object.values(SOCKETS).map((name) => name.length));
  if (Buffer.byteLength(folder) > most)
    throw new CodedError(
      'usage',
      `${folder}: this path is too long for Unix sockets; at most ${most} bytes can be used (bkv serve makes the folder in TMPDIR)`,
    );
}

/** The keeper over its socket, and a function that ends the connection. */
export function connectKeeper(path: string): KeeperApi & { disconnect(): void } {
  const client = new SocketClient(path, API, ANSWER_LIMIT);
  const methods = (Object.keys(API) as (keyof typeof API)[]).map((name) => [
    name,
    (call?: never) => client.call(name, call as never),
  ]);
  return { ...Object.fromEntries(methods), disconnect: () => client.close() };
}

/**
 * What the operator's side asks of the keeper. The keeper trusts it: it has no access token, and the permissions of the
 * socket's folder say who may ask.
 *
 * The keeper
 * - MUST answer `health` and `metrics` also while it stands by, or its token is away;
 * - MUST reject with a CodedError, and with no other error;
 * - MAY reject `backUp` and `shred` with `unavailable`, `token-failed` or `database-failed`;
 * - MUST NOT tell a secret, an account's id or a key: a backup opens in the backup token only.
 *
 * A caller MAY repeat every call: a sweep that was cut off goes on where it ended.
 */
export interface KeeperAdmin {
  /** @returns serverPublicKey, 33 bytes; trouble, why the vault cannot answer now */
  health(): Promise<ResultOf<typeof ADMIN.health>>;
  /** @returns a page of Prometheus */
  metrics(): Promise<{ page: string }>;
  /** @throws CodedError no-backup when the token was made without a backup token */
  backUp(): Promise<{ backup: string }>;
  /** @param report is told of each page once its sweep has ended */
  shred(options: ArgumentsOf<typeof ADMIN.shred>, report: (page: Shredded) => void): Promise<undefined>;
}

export function connectAdmin(path: string): KeeperAdmin & { disconnect(): void } {
  const client = new SocketClient(path, ADMIN, ADMIN_ANSWER_LIMIT);
  return {
    health: () => client.call('health', undefined),
    metrics: () => client.call('metrics', undefined),
    backUp: () => client.call('backUp', undefined),
    shred: (options, report) => client.call('shred', options, (page) => report(page as Shredded)),
    disconnect: () => client.close(),
  };
}
