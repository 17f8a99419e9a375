import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { CodedError, isPlainHttp, MOST_ATTEMPTS, MOST_EXCHANGE_SECONDS } from '../protocol/terms.js';
import {
  type Check,
  type Checked,
  checkYaml,
  field,
  fields,
  integer,
  list,
  matching,
  number,
  optional,
  path,
  text,
  urlOrPath,
  withDefault,
} from './check.js';

export interface HostPort {
  readonly host: string;
  /** 0 for any free port */
  readonly port: number;
}

/** An address as `host:port` or `[IPv6]:port`. `undefined` for anything else. */
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

const origin = matching(
  'an origin as https://app.example',
  (value) => URL.canParse(value) && new URL(value).origin === value,
);

/** A single word is more likely a mistyped URL than a file's name, and would create an SQLite file of that name. */
const database: Check<string> = (node, place) => {
  const value = text(node, place);
  const isPath = typeof value === 'string' && /[./]/.test(value) && !/^\w+:\/\//.test(value);
  if (typeof value === 'string' && !isPath && !/^postgres(ql)?:\/\/./.test(value))
    place.fault('must be postgres://…, or the path of an SQLite file as ./records.sqlite', node);
  return urlOrPath('postgres', 'postgresql')(node, place);
};

const rateLimit = fields({
  account: field(withDefault(integer(1), 60), 'of one account'),
  address: field(withDefault(integer(1), 600), 'of one network address'),
});

const tls = fields({
  cert: field(path, 'certificate and its chain, PEM'),
  key: field(path, 'private key, PEM'),
  clientCa: field(optional(path), 'asks clients for a certificate of this CA'),
});

/** Whoever can change the keys on their way can sign access tokens for every account. */
const keySet: Check<string> = (node, place) => {
  const value = urlOrPath('http', 'https')(node, place);
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (!url && /^https?:/.test(value)) place.fault('must be an https: URL, or a file', node);
  if (url && isPlainHttp(url))
    place.fault('others could change the keys on their way; use https:, or a file', node);
  return value;
};

const auth = fields({
  jwks: field(keySet, "the identity provider's keys: an https: URL, or a file"),
  issuer: field(text, 'what `iss` of an access token must be'),
});

/** The daemon's configuration, field by field; docs/config.md is made from it. */
export const daemonFields = fields({
  profile: field(optional(path), "the token's profile; without it a SoftHSM2 token in the data folder"),
  database: field(
    optional(database),
    'a PostgreSQL URL without a password, or an SQLite file; without it one in the data folder',
  ),
  listen: field(withDefault(address, { host: '127.0.0.1', port: 8200 }), 'address of the API'),
  admin: field(
    withDefault(address, { host: '127.0.0.1', port: 8201 }),
    'address of metrics, health and upkeep: for the operator only',
  ),
  adminHosts: field(
    withDefault(list(text), []),
    'host names by which the admin address may be called; IP addresses and localhost are always accepted',
  ),
  httpWorkers: field(withDefault(integer(1, 64), 1), 'processes that serve the API'),
  maxAttempts: field(
    withDefault(integer(1, MOST_ATTEMPTS), 10),
    'wrong passwords until a key is unreachable; a change holds for later registrations',
  ),
  exchangeSeconds: field(
    withDefault(integer(1, MOST_EXCHANGE_SECONDS), 60),
    'seconds that the vault waits for the second message of an exchange; clients are told',
  ),
  tokenBackup: field(optional(path), 'file that always holds a backup of the token, for its backup token'),
  shredHours: field(
    withDefault(number(0, 500), 24),
    'hours between sweeps that destroy the page keys of ended accounts; 0 for none',
  ),
  rateLimit: field(
    withDefault(rateLimit, { account: 60, address: 600 }),
    'requests a minute; the second message of an exchange does not count',
  ),
  trustedProxies: field(
    withDefault(list(network), []),
    'load balancers whose X-Forwarded-For is believed: addresses or networks',
  ),
  cors: field(
    withDefault(list(origin), []),
    'origins of web apps whose pages may ask the vault, as https://app.example',
  ),
  tls: field(optional(tls), 'certificate of the API; without it a load balancer speaks TLS'),
  auth: field(
    optional(auth),
    'who says which account a caller acts for; required except for a trial on loopback',
  ),
});

export type Config = Checked<typeof daemonFields>;
export type Auth = NonNullable<Config['auth']>;

/** What the command line sets instead of the file. */
export interface Overrides {
  readonly listen?: string | undefined;
  readonly admin?: string | undefined;
}

/**
 * Reads the daemon's configuration.
 * @param file if it is missing, the defaults hold
 * @throws CodedError usage, with a line for each thing that is wrong
 */
export function loadConfig(file: string | undefined, overrides: Overrides = {}): Config {
  const config = checkYaml(
    file === undefined ? '' : read(file),
    file ?? 'configuration',
    daemonFields,
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
