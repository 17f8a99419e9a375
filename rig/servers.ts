import { type ChildProcess, spawn } from 'node:child_process';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';

/** Starts a server. @returns its process, and the port that it prints */
export async function server(
  command: string,
  args: string[],
  env: NodeJS.ProcessEnv = {},
): Promise<[ChildProcess, number]> {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const port = await new Promise<number>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`${command} ended with ${code}`)));
    for (const output of [child.stdout, child.stderr])
      createInterface({ input: output as NodeJS.ReadableStream }).on('line', (line) => {
        const [, found] = /127\.0\.0\.1:(\d+)/.exec(line) ?? [];
        if (found) resolve(Number(found));
      });
  });
  return [child, port];
}

/** WebDAV by rclone, over a folder. */
export const webDav = (folder: string, user: string, password: string) =>
  server('rclone', ['serve', 'webdav', folder, '--addr', '127.0.0.1:0'], {
    RCLONE_USER: user,
    RCLONE_PASS: password,
  });

/** S3 by s3rver, with buckets, over a folder. */
export const s3 = (folder: string, buckets: readonly string[]) =>
  server('test/s3/node_modules/.bin/s3rver', [
    ...['--directory', folder, '--address', '127.0.0.1', '--port', '0'],
    ...buckets.flatMap((bucket) => ['--configure-bucket', bucket]),
  ]);

/** What a proxy does with a request: `pass` hands it on. */
export type Behaviour = (request: IncomingMessage, response: ServerResponse, pass: Pass) => void;
export type Pass = (options?: {
  /** the client does not get the answer: the request was done, and will be sent again */
  readonly lost?: boolean;
  /** the answer ends after this many bytes of its body */
  readonly cutAfter?: number;
  /** is sent on instead of the request's own body, which was read */
  readonly body?: Buffer;
}) => void;

/** Stands before a server. */
export async function proxy(port: number, behaviour: Behaviour): Promise<{ server: Server; port: number }> {
  const made = createServer((incoming, outgoing) => {
    const pass: Pass = ({ lost, cutAfter, body } = {}) => {
      const { method, url: path } = incoming;
      const headers = { ...incoming.headers, ...(body && { 'content-length': body.length }) };
      const onward = request({ host: '127.0.0.1', port, method, path, headers }, (answer) => {
        if (lost) {
          answer.resume();
          answer.once('end', () => incoming.socket.destroy());
          return;
        }
        outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
        if (cutAfter === undefined) answer.pipe(outgoing);
        else {
          let left = cutAfter;
          answer.on('data', (piece: Buffer) => {
            outgoing.write(piece.subarray(0, left));
            left -= piece.length;
            if (left <= 0) setTimeout(() => incoming.socket.destroy(), 10);
          });
          answer.once('end', () => incoming.socket.destroy());
        }
      });
      onward.on('error', () => outgoing.destroy());
      if (body) onward.end(body);
      else incoming.pipe(onward);
    };
    behaviour(incoming, outgoing, pass);
  });
  await new Promise<void>((resolve) => made.listen(0, '127.0.0.1', resolve));
  return { server: made, port: (made.address() as AddressInfo).port };
}

/**
 * Writes spaces as long as they are taken. They end after 200 MB, so that a client that reads all of them fails
 * a test and does not hang. @param sent is told how many bytes were written
 */
export function pour(into: ServerResponse, sent: (bytes: number) => void): void {
  const piece = Buffer.alloc(100_000, ' ');
  let left = 2000;
  const more = (): void => {
    for (let full = false; !full; left--) {
      if (left === 0) return void into.end();
      sent(piece.length);
      full = !into.write(piece);
    }
    into.once('drain', more);
  };
  into.on('error', () => undefined);
  more();
}
