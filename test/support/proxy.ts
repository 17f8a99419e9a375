import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from 'node:net';
import { pipeline } from 'node:stream';
import { connect as connectTls } from 'node:tls';

/**
 * A proxy that accepts CONNECT. Every name leads to the port of `target`; without `target` all are refused.
 */
export class ConnectProxy {
  /** what was asked for, and with which login */
  readonly seen: string[] = [];
  readonly #server = createServer();

  static async start(target: () => number | undefined = () => undefined): Promise<ConnectProxy> {
    const proxy = new ConnectProxy();
    proxy.#server.on('connect', ({ url, headers }, socket) => {
      proxy.seen.push(`${url} ${headers['proxy-authorization'] ?? ''}`.trim());
      const port = target();
      if (port === undefined) {
        socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
        return;
      }
      const upstream = connect(port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
        upstream.pipe(socket).pipe(upstream);
      });
      for (const one of [upstream, socket]) one.on('error', () => upstream.destroy());
    });
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

/** Speaks TLS to a server, whose certificate it does not check, for callers that do not. */
export async function withoutTls(server: string): Promise<{ relay: Server; url: string }> {
  const port = Number(new URL(server).port);
  const relay = createTcpServer((plain) => {
    const secured = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false });
    pipeline(plain, secured, plain, () => undefined);
  });
  await once(relay.listen(0, '127.0.0.1'), 'listening');
  return { relay, url: `http://127.0.0.1:${(relay.address() as AddressInfo).port}` };
}
