import { rmSync, statSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import { dirname } from 'node:path';
import { makeFolder } from '../process/index.js';
import { CodedError, codeOf } from '../protocol/terms.js';

/** Where the process that faces clients serves its metrics, in the folder of the sockets. */
export const METRICS_SOCKET = 'http/metrics.sock';

/** Longer than the primary waits for its workers. */
const TIMEOUT_MS = 10_000;
/** Most characters of a page: a longer one could only be meant to exhaust the memory. */
const LARGEST = 2 ** 22;

/** Gives a page of metrics to whoever asks at the socket. The socket is its owner's alone, unless its folder lets a group in. */
export async function serveMetrics(path: string, page: () => Promise<string>): Promise<Server> {
  makeFolder(dirname(path));
  // The socket was left behind by a process that was killed.
  rmSync(path, { force: true });
  const server = createServer((_request, response) => {
    page().then(
      (text) => response.end(text),
      (error) => response.writeHead(codeOf(error) === 'unavailable' ? 503 : 500).end(),
    );
  });
  const mask = process.umask(statSync(dirname(path)).mode & 0o070 ? 0o117 : 0o177);
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve)).finally(
    () => process.umask(mask),
  );
  return server;
}

/**
 * Asks for the page at a socket.
 * @returns an empty page when nobody answers there @throws CodedError unavailable when the page is incomplete
 */
export const readMetrics = (path: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const notWhole = () =>
      reject(new CodedError('unavailable', 'an HTTP worker is being started; ask again', { retryAfter: 1 }));
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const asked = request({ socketPath: path, signal }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        if (text.length > LARGEST) response.destroy(new Error('too large'));
      });
      response.on('end', () => (response.statusCode === 200 ? resolve(text) : notWhole()));
      response.on('error', notWhole);
    });
    asked.on('error', ({ code }: NodeJS.ErrnoException) => {
      if (code === 'ENOENT' || code === 'ECONNREFUSED') resolve('');
      else notWhole();
    });
    // It ends with neither an answer nor an error when another protocol is answered, for one.
    asked.on('close', notWhole);
    asked.end();
  });
