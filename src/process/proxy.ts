import { BlockList, isIP } from 'node:net';
import { CodedError, isLoopback } from '../protocol/terms.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** A variable by its upper-case name. If the lower-case one is set too, that one counts, as for curl. */
const read = (env: Environment, name: string): string => env[name.toLowerCase()] || env[name] || '';

/** @throws CodedError usage, without the value, which may contain a password */
function proxyOf(env: Environment, name: string): string | undefined {
  const value = read(env, name);
  if (!value) return undefined;
  const address = value.includes('://') ? value : `http://${value}`;
  if (URL.canParse(address) && /^https?:$/.test(new URL(address).protocol)) return address;
  throw new CodedError(
    'usage',
    `${name} is not the address of a proxy; write http://HOST:PORT or https://HOST:PORT`,
  );
}

const bare = (host: string): string => host.replace(/^\[|\]$/g, '').toLowerCase();

/** Whether an address lies in a block, such as 10.0.0.0/8 or 2001:db8::/32. */
function isInBlock(host: string, block: string): boolean {
  const [address = '', bits = ''] = block.split('/');
  const version = isIP(address);
  if (version === 0 || isIP(host) !== version || !/^\d+$/.test(bits)) return false;
  if (Number(bits) > (version === 4 ? 32 : 128)) return false;
  const family = version === 4 ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(address, Number(bits), family);
  return list.check(host, family);
}

/** Whether an entry of NO_PROXY matches an address: a name also matches all names below it. */
function names(entry: string, { hostname, port, protocol }: URL): boolean {
  if (entry === '*') return true;
  if (entry.includes('/')) return isInBlock(bare(hostname), entry.replace(/[[\]]/g, ''));
  const [, host = '', only] = /^(\[.*\]|[^:]*|.*:.*:.*)(?::(\d+))?$/.exec(entry) ?? [];
  if (only !== undefined && only !== (port || (protocol === 'https:' ? '443' : '80'))) return false;
  const name = bare(host).replace(/^\*?\./, '');
  return name !== '' && (bare(hostname) === name || bare(hostname).endsWith(`.${name}`));
}

/** The proxy through which an address is reached. Loopback is reached directly. @throws CodedError usage */
export function proxyFor(url: URL, env: Environment): string | undefined {
  const direct = read(env, 'NO_PROXY').split(/[,\s]+/);
  const local = isLoopback(url.hostname) || url.hostname.endsWith('.localhost');
  if (local || direct.some((entry) => names(entry, url))) return undefined;
  return proxyOf(env, url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY');
}

/**
 * Makes `fetch` of this process use the proxies that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name. Loads nothing
 * if none is named.
 * @throws CodedError usage
 */
export async function useProxies(env: Environment = process.env): Promise<void> {
  const proxies = [proxyOf(env, 'HTTPS_PROXY'), proxyOf(env, 'HTTP_PROXY')].filter(
    (one) => one !== undefined,
  );
  if (proxies.length === 0) return;
  const { Agent, ProxyAgent, setGlobalDispatcher } = await import('undici');
  const agents = new Map(proxies.map((uri) => [uri, new ProxyAgent(uri)]));
  const choose = new Agent().compose((direct) => (options, handler) => {
    const agent = agents.get(proxyFor(new URL(String(options.origin)), env) ?? '');
    return agent ? agent.dispatch(options, handler) : direct(options, handler);
  });
  setGlobalDispatcher(choose);
}
