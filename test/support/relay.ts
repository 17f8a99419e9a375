import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

type Json = Record<string, unknown>;

/**
 * An attacker inside TLS, between a client and a vault: reads every message, and may replace it by another.
 */
export class Relay {
  readonly #server: Server;
  /** called for each request with a body; its result is sent on */
  onRequest: (path: string, body: Json) => Json | Promise<Json> = (_path, body) => body;
  /** called for each JSON answer; its result is given to the client */
  onAnswer: (path: string, answer: Json) => Json | Promise<Json> = (_path, answer) => answer;
  /** answers that are lost on the way, by path */
  readonly lost: string[] = [];
  readonly seen: { path: string; authorization: string | undefined; body: Json }[] = [];

  private constructor(vault: string) {
    this.#server = createServer(async (incoming, outgoing) => {
      const text = Buffer.concat(await incoming.toArray()).toString();
      const path = incoming.url as string;
      const { authorization } = incoming.headers;
      const body = text && (await this.onRequest(path, JSON.parse(text)));
      this.seen.push({ path, authorization, body: body || {} });
      const headers = { 'content-type': 'application/json', ...(authorization && { authorization }) };
      request(new URL(path, vault), { method: incoming.method, headers }, async (answer) => {
        const told = Buffer.concat(await answer.toArray()).toString();
        const at = this.lost.indexOf(path);
        if (at >= 0) {
          this.lost.splice(at, 1);
          outgoing.destroy();
          return;
        }
        const type = answer.headers['content-type'] ?? '';
        const altered = answer.statusCode === 200 ? await this.onAnswer(path, JSON.parse(told)) : undefined;
        outgoing.writeHead(answer.statusCode as number, { 'content-type': type });
        outgoing.end(altered ? JSON.stringify(altered) : told);
      })
        .on('error', () => outgoing.destroy())
        .end(body ? JSON.stringify(body) : '');
    });
  }

  static async open(vault: string): Promise<Relay> {
    const relay = new Relay(vault);
    await new Promise<void>((resolve) => relay.#server.listen(0, '127.0.0.1', resolve));
    return relay;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
