import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { CodedError } from '../protocol/index.js';
import {
  type Check,
  type Checked,
  checkYaml,
  fields,
  integer,
  list,
  matching,
  number,
  optional,
  path,
  text,
  withDefault,
} from './check.js';

export interface HostPort {
  readonly host: string;
  /** 0 for any free port */
  readonly port: number;
}

/** An address as `host:port` or `[IPv6]:port`. `undefined` when it is none. */
function parseHostPort(address: string): HostPort | undefined {
  const [, host, port] = /^(\[[^\]]+\]|[^:]+):(\d{1,5})$/.exec(address) ?? [];
  if (!host || !port || Number(port) > 65_535) return undefined;
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
}

const address: Check<HostPort> = (node, place) =>
  parseHostPort(
    matching('host:port', (value) => parseHostPort(value) !== undefined)(node, place),
  ) as HostPort;

const network = matching('an IP address, or a network as 10.0.0.0/8', (value) => {
  const [ip = '', bits, ...more] = value.split('/');
  const version = isIP(ip);
  if (version === 0 || more.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
});

/** The retry counters of the ledger hold at most so many. */
const MAX_ATTEMPTS = 200;

const rateLimit = fields({
  account: withDefault(integer(1), 60),
  address: withDefault(integer(1), 600),
});

const daemon = fields({
  profile: optional(path),
  database: optional(text),
  listen: withDefault(address, { host: '127.0.0.1', port: 8200 }),
  admin: withDefault(address, { host: '127.0.0.1', port: 8201 }),
  adminHosts: withDefault(list(text), []),
  httpWorkers: withDefault(integer(1, 64), 1),
  maxAttempts: withDefault(integer(1, MAX_ATTEMPTS), 10),
  exchangeSeconds: withDefault(number(1, 3600), 60),
  tokenBackup: optional(path),
  shredHours: withDefault(number(0, 500), 24),
  rateLimit: withDefault(rateLimit, { account: 60, address: 600 }),
  trustedProxies: withDefault(list(network), []),
  tls: optional(fields({ cert: path, key: path, clientCa: optional(path) })),
  auth: optional(fields({ jwks: text, issuer: text })),
});

/** What docs/operator.md describes field by field. */
export type Config = Checked<typeof daemon>;
export type Auth = NonNullable<Config['auth']>;

/** What the command line says in place of the file. */
export interface Overrides {
  readonly listen?: string | undefined;
  readonly admin?: string | undefined;
}

/**
 * Reads the daemon's configuration.
 * @param file without one the defaults
 * @throws CodedError usage, with a line for each thing that is wrong
 */
export function loadConfig(file: string | undefined, overrides: Overrides = {}): Config {
  const config = checkYaml(
    file === undefined ? '' : read(file),
    file ?? 'configuration',
    daemon,
    (faults) => {
      throw new CodedError('usage', faults);
    },
  );
  return { ...config, ...override('listen', overrides.listen), ...override('admin', overrides.admin) };
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new CodedError('usage', `${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}

function override(name: 'listen' | 'admin', value: string | undefined): Partial<Config> {
  if (value === undefined) return {};
  const parsed = parseHostPort(value);
  if (!parsed) throw new CodedError('usage', `--${name}: "${value}" is not host:port`);
  return { [name]: parsed };
}

/** Whether only this machine reaches an address. */
export const isLoopback = ({ host }: HostPort): boolean =>
  host === 'localhost' || host === '::1' || /^127\./.test(host);
