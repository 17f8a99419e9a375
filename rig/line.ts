import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { p256 } from '@noble/curves/nist.js';
import type { Daemon } from './daemon.js';

/** Stands between client and vault: cuts the connection, delays it, or turns the vault into a liar. */
export class Line {
  mode: 'open' | 'cut' | 'slow' | 'lie' = 'open';
  /** how many more requests pass before the connection is cut */
  remaining = Number.POSITIVE_INFINITY;
  readonly #server: Server;
  private constructor(public daemon: Daemon) {
    this.#server = createServer(async (incoming, outgoing) => {
      if (this.mode === 'cut' || this.remaining-- <= 0) return incoming.socket.destroy();
      if (this.mode === 'slow') await new Promise((resolve) => setTimeout(resolve, 3000));
      const body = Buffer.concat(await incoming.toArray());
      const { host: _, connection: __, ...headers } = incoming.headers;
      request(
        new URL(incoming.url as string, this.daemon.url),
        { method: incoming.method, headers },
        async (answer) => {
          let text = Buffer.concat(await answer.toArray());
          if (this.mode === 'lie' && incoming.url === '/v1/recovery/start' && answer.statusCode === 200) {
            const told = JSON.parse(text.toString()) as { KE2: string };
            const KE2 = Buffer.from(told.KE2, 'base64url');
            KE2.set(p256.Point.BASE.multiply(77n).toBytes(true));
            text = Buffer.from(JSON.stringify({ ...told, KE2: KE2.toString('base64url') }));
          }
          outgoing.writeHead(answer.statusCode as number, {
            'content-type': answer.headers['content-type'] ?? '',
          });
          outgoing.end(text);
        },
      )
        .on('error', () => outgoing.destroy())
        .end(body);
    });
  }
  static async open(daemon: Daemon): Promise<Line> {
    const line = new Line(daemon);
    await new Promise<void>((resolve) => line.#server.listen(0, '127.0.0.1', resolve));
    return line;
  }
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }
  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
