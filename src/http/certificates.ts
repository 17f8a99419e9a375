import { readFileSync, statSync } from 'node:fs';
import type { Server } from 'node:https';
import type { SecureContextOptions } from 'node:tls';
import type { Config } from '../config/index.js';
import { log } from './log.js';

type Tls = NonNullable<Config['tls']>;

const LOOK_MS = 60_000;

/** @throws Error when a file cannot be read */
export const certificates = ({ cert, key, clientCa }: Tls): SecureContextOptions => ({
  minVersion: 'TLSv1.2',
  cert: readFileSync(cert),
  key: readFileSync(key),
  ...(clientCa && { ca: readFileSync(clientCa) }),
});

/** Makes a server read its certificates again if they have changed: at SIGHUP, and once a minute. */
export function renewCertificates(server: Server, tls: Tls): void {
  const stamp = () => [tls.cert, tls.key, tls.clientCa].map((path) => path && statSync(path).mtimeMs).join();
  let used = stamp();
  const look = () => {
    try {
      const now = stamp();
      if (now === used) return;
      server.setSecureContext(certificates(tls));
      used = now;
      log.info('certificate read again');
    } catch (error) {
      log.error('the new certificate is of no use, and the old one goes on', {
        reason: (error as Error).message,
      });
    }
  };
  process.on('SIGHUP', look);
  setInterval(look, LOOK_MS).unref();
}
