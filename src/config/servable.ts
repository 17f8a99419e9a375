import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { createSecureContext } from 'node:tls';
import { CodedError } from '../protocol/terms.js';
import { certificatesIn } from './certificates.js';
import type { Config, HostPort } from './daemon.js';

/** How long to wait for a port, milliseconds. */
const LEAVING_MS = 5000;
const POLL_MS = 100;

/**
 * Makes sure that the API and the admin address can be served before a keeper goes on duty.
 * @throws CodedError usage, with a line for each thing that is wrong
 */
export async function assertServable({ tls, listen, admin }: Config): Promise<void> {
  const faults = [
    ...certificateFaults(tls),
    ...(await portFaults('listen', listen)),
    ...(await portFaults('admin', admin)),
  ];
  if (listen.port !== 0 && listen.port === admin.port && listen.host === admin.host)
    faults.push('admin: is the address of the API; it needs one of its own');
  if (faults.length > 0) throw new CodedError('usage', faults.join('\n'));
}

function certificateFaults(tls: Config['tls']): string[] {
  if (!tls) return [];
  const faults: string[] = [];
  const read = (field: string, path: string | undefined): Buffer | undefined => {
    try {
      return path === undefined ? undefined : readFileSync(path);
    } catch (error) {
      faults.push(`tls.${field}: ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`);
      return undefined;
    }
  };
  const [cert, key, ca] = [read('cert', tls.cert), read('key', tls.key), read('clientCa', tls.clientCa)];
  if (cert && key)
    try {
      createSecureContext({ cert, key });
      certificatesIn(cert);
    } catch (error) {
      faults.push(`tls: certificate and key do not go together (${(error as Error).message})`);
    }
  if (ca)
    try {
      certificatesIn(ca);
    } catch (error) {
      faults.push(`tls.clientCa: ${tls.clientCa} is not a certificate in PEM (${(error as Error).message})`);
    }
  return faults;
}

const listenFor = ({ host, port }: HostPort): Promise<void> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, host, () => server.close(() => resolve()));
  });

/** Listens for a moment. A daemon that was stopped may still be ending. */
async function portFaults(field: 'listen' | 'admin', address: HostPort): Promise<string[]> {
  const { host, port } = address;
  if (port === 0) return [];
  const until = performance.now() + LEAVING_MS;
  const tried = async (): Promise<void> => {
    await listenFor(address).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE' || performance.now() > until) throw error;
      await setTimeout(POLL_MS);
      await tried();
    });
  };
  try {
    await tried();
    return [];
  } catch (error) {
    const why: Record<string, string> = {
      EADDRINUSE: 'another program listens there',
      EACCES: 'ports below 1024 need a right that this user lacks',
      EADDRNOTAVAIL: 'this machine has no such address',
      ENOTFOUND: 'this name has no address',
    };
    const { code = '' } = error as NodeJS.ErrnoException;
    return [`${field}: ${host}:${port} cannot be listened on: ${why[code] ?? code}`];
  }
}
