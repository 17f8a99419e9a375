/**
 * Serves the page with a vault behind it, on loopback: `npm run demo:web`. It takes the place of a messenger:
 * whoever names an account is logged in as that account. The data folder is deleted at the end.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import express from 'express';
import { listenForStop, stopped } from '../process/index.js';
import { EXITS } from '../protocol/index.js';
import { bundle } from './bundle.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const { bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { bin: { bkv: string } };
const data = mkdtempSync(join(tmpdir(), 'bkv-web-'));

const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  // The stylesheet's icons are data: URLs, restored pictures are blobs.
  'img-src blob: data:',
  "form-action 'none'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

const HEADERS = {
  'content-security-policy': POLICY,
  'permissions-policy': 'camera=(self), microphone=(), geolocation=()',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
};

function fail(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(EXITS.failed.code);
}

interface Serving {
  readonly url: string;
  readonly serverPublicKey: string;
}

function startVault(): [ChildProcess, Promise<Serving>] {
  const args = ['serve', '--data', data, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const vault = spawn(process.execPath, [join(root, bin.bkv), ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const serving = new Promise<Serving>((resolve) => {
    let said = '';
    vault.once('exit', (code) => fail(`The vault did not start (it ended with ${code}). ${said}`.trim()));
    createInterface({ input: vault.stderr as NodeJS.ReadableStream }).on('line', (line) => {
      said = line;
      if (line.includes('"serving"')) resolve(JSON.parse(line) as Serving);
      else if (!line.startsWith('{') || line.includes('"level":"error"')) process.stderr.write(`${line}\n`);
    });
  });
  return [vault, serving];
}

function listeningPort(): number {
  const { BKV_WEB_PORT = '8300' } = process.env;
  const port = Number(BKV_WEB_PORT);
  if (!/^\d+$/.test(BKV_WEB_PORT) || port > 65_535) fail(`BKV_WEB_PORT is not a port: "${BKV_WEB_PORT}"`);
  return port;
}

const port = listeningPort();
const [vault, serving] = startVault();
process.once('exit', () => {
  vault.kill();
  rmSync(data, { recursive: true, force: true });
});
listenForStop();
void stopped().then(() => {
  vault.removeAllListeners('exit');
  vault.once('exit', () => process.exit(EXITS.done.code));
  vault.kill();
});

const assets = await bundle().catch((error: Error) =>
  fail(`The page could not be put together: ${error.message}. Run npm ci first.`),
);
const { url, serverPublicKey } = await serving;
const { embeddedJwt } = await import('../daemon/index.js');

const app = express().disable('x-powered-by');
app.use((_request, response, next) => {
  response.set(HEADERS);
  next();
});
app.get('/demo/config', (_request, response) => {
  response.json({ serverPublicKey });
});
app.post('/demo/login', express.text({ limit: 256 }), async (request, response) => {
  response.type('text/plain').send(await embeddedJwt(data, String(request.body), 600));
});
app.use('/v1', (incoming, outgoing) => {
  const { method, originalUrl, headers } = incoming;
  const onward = request(new URL(originalUrl, url), { method, headers }, (answer) => {
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(outgoing);
  });
  onward.on('error', () => outgoing.destroy());
  incoming.pipe(onward);
});
app.use((request, response) => {
  const asset = assets.get(request.path);
  if (asset) response.type(asset.type).send(asset.content);
  else response.status(404).type('text/plain').send('There is no such page.\n');
});

const server = app.listen(port, '127.0.0.1');
server.once('listening', () => {
  const { port: taken } = server.address() as AddressInfo;
  process.stdout.write(`Open http://localhost:${taken}/ in a browser; Ctrl-C ends it.\n`);
});
server.once('error', (error: NodeJS.ErrnoException) =>
  fail(
    error.code === 'EADDRINUSE'
      ? `Port ${port} is taken. Set BKV_WEB_PORT to another.`
      : `The page cannot be served: ${error.message}`,
  ),
);
