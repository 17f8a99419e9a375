/**
 * Serves the page with a vault behind it, on loopback: `npm run demo:web`. It stands in for a messenger: whoever names an
 * account is logged in as it. The data folder is gone when it ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import express from 'express';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const main = join(root, 'dist/src/cli/main.js');
const data = mkdtempSync(join(tmpdir(), 'bkv-web-'));
const port = Number(process.env.BKV_WEB_PORT ?? 8300);

interface Serving {
  readonly url: string;
  readonly serverPublicKey: string;
}

function startVault(): [ChildProcess, Promise<Serving>] {
  const args = ['serve', '--data', data, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const vault = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  const serving = new Promise<Serving>((resolve, reject) => {
    vault.once('exit', (code) => reject(new Error(`the vault ended with ${code}`)));
    createInterface({ input: vault.stderr as NodeJS.ReadableStream }).on('line', (line) => {
      if (line.includes('"serving"')) resolve(JSON.parse(line) as Serving);
      else if (line.includes('"level":"error"')) process.stderr.write(`${line}\n`);
    });
  });
  return [vault, serving];
}

const [vault, serving] = startVault();
process.once('exit', () => vault.kill());
vault.once('exit', () => rmSync(data, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    vault.once('exit', () => process.exit(0));
    vault.kill();
  });

const { outputFiles } = await build({
  entryPoints: [join(root, 'src/web/page.ts')],
  bundle: true,
  minify: true,
  splitting: true,
  format: 'esm',
  platform: 'browser',
  outdir: '/',
  write: false,
});
const scripts = new Map(outputFiles.map(({ path, contents }) => [path, Buffer.from(contents)]));
const { url, serverPublicKey } = await serving;
const { embeddedJwt } = await import('../daemon/index.js');

const app = express().disable('x-powered-by');
app.use((_request, response, next) => {
  response.set({
    'content-security-policy':
      "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; img-src blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
  });
  next();
});
app.get('/', (_request, response) => response.sendFile(join(root, 'src/web/index.html')));
app.get('/page.css', (_request, response) => response.sendFile(join(root, 'src/web/page.css')));
app.get('/demo/config', (_request, response) => {
  response.json({ serverPublicKey: Buffer.from(serverPublicKey, 'base64url').toString('base64') });
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
app.use((request, response, next) => {
  const script = scripts.get(request.path);
  if (script) response.type('text/javascript').send(script);
  else next();
});

const server = app.listen(port, '127.0.0.1', () => {
  process.stdout.write(
    `Open http://127.0.0.1:${(server.address() as AddressInfo).port}/ in a browser; Ctrl-C ends it.\n`,
  );
});
