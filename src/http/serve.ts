import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Express } from 'express';
import type { Config } from '../config/index.js';
import { readCertificates, renewCertificates } from './certificates.js';

export interface Listen {
  readonly host: string;
  /** 0 for any free port */
  readonly port: number;
  readonly tls?: Config['tls'];
}

/** Starts a server with time-outs that a slow client cannot stretch. */
export async function listen(
  app: Express,
  { host, port, tls }: Listen,
): Promise<{ server: Server; url: string }> {
  const timeouts = {
    requestTimeout: 15_000,
    headersTimeout: 10_000,
    // Longer than the minute for which proxies keep idle connections. Otherwise they would send a request
    // into a connection that is being closed.
    keepAliveTimeout: 75_000,
    connectionsCheckingInterval: 1000,
    maxHeaderSize: 16_384,
  };
  const certificates = tls && readCertificates(tls);
  const server = certificates
    ? createTlsServer(
        {
          ...timeouts,
          ...certificates.context,
          ...(certificates.context.ca && { requestCert: true, rejectUnauthorized: true }),
        },
        app,
      )
    : createServer(timeouts, app);
  if (certificates) renewCertificates(server as TlsServer, tls, certificates);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const address = server.address() as AddressInfo;
  const shown = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return { server, url: `${tls ? 'https' : 'http'}://${shown}:${address.port}` };
}

/** Lets requests under way end, for at most `ms` milliseconds. */
export async function stop(server: Server, ms = 10_000): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), ms);
  await closed;
  clearTimeout(timer);
}
