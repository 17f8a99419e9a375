import assert from 'node:assert/strict';
import { type ExecFileOptionsWithStringEncoding, execFile } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync, gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { gzipSync as gzip } from 'fflate';
import { Daemon } from '../rig/daemon.js';
import { launch } from './support/page.js';

const PACKAGES = resolve('dist/packages');
/** Size limits of what a browser loads, gzipped, bytes. */
const [ONE_VAULT, WHOLE] = [45_000, 65_000];

const run = async (
  command: string,
  args: string[],
  options: Partial<ExecFileOptionsWithStringEncoding> = {},
): Promise<string> => {
  const { stdout } = await promisify(execFile)(command, args, { encoding: 'utf8', ...options }).catch(
    (error: Error & { stdout: string; stderr: string }) => {
      throw new Error(`${error.message}\n${error.stdout}${error.stderr}`);
    },
  );
  return stdout;
};
const make = () => run(process.execPath, ['packages/make.mjs']);
const tarballs = (): Map<string, Buffer> =>
  new Map(
    readdirSync(PACKAGES)
      .filter((name) => name.endsWith('.tgz'))
      .map((name) => [name, readFileSync(join(PACKAGES, name))]),
  );
const filesOf = (project: string, name: string): string[] =>
  readdirSync(join(project, 'node_modules', name), { recursive: true }) as string[];

describe('the packages', function () {
  this.timeout(240_000);
  const work = mkdtempSync(join(tmpdir(), 'bkv-packages-'));
  let made: Map<string, Buffer>;
  before(async () => {
    await make();
    made = tarballs();
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  /** Makes an empty project and installs these packages without running their scripts. */
  const project = async (name: string, ...packages: string[]): Promise<string> => {
    const folder = join(work, name);
    mkdirSync(folder);
    writeFileSync(join(folder, 'package.json'), '{"private":true}');
    const quiet = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'];
    await run('npm', ['install', ...quiet, ...packages], { cwd: folder });
    return folder;
  };
  const tarball = (name: RegExp): string => {
    const file = [...made.keys()].find((one) => name.test(one));
    return join(PACKAGES, file as string);
  };

  it('are the same bits when they are made again, with another umask and time zone', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
    assert.deepEqual(
      [...made.keys()],
      [`backup-key-vault-${version}.tgz`, `backup-key-vault-client-${version}.tgz`],
    );
    // Compression differs between versions of Node.js.
    for (const [name, bits] of made)
      assert.deepEqual(Buffer.from(gzip(gunzipSync(bits), { level: 9, mtime: 0 })), bits, name);
    await run('sh', ['-c', 'umask 077; exec node packages/make.mjs'], {
      env: { ...process.env, TZ: 'Asia/Tokyo' },
    });
    assert.deepEqual(tarballs(), made);
  });

  describe('the client', () => {
    let app: string;
    let daemon: Daemon;
    before(async () => {
      app = await project('app', tarball(/-client-/), 'typescript@5.4.5', 'newest@npm:typescript@7.0.2');
      daemon = await Daemon.start(mkdtempSync(join(work, 'vault-')));
    });
    after(() => daemon?.stop());

    const bundled = async (code: string): Promise<Uint8Array> => {
      const { outputFiles } = await build({
        stdin: { contents: code, resolveDir: app },
        bundle: true,
        minify: true,
        splitting: true,
        format: 'esm',
        platform: 'browser',
        outdir: app,
        write: false,
        logLevel: 'silent',
      });
      return outputFiles.find(({ path }) => path.endsWith('stdin.js'))?.contents as Uint8Array;
    };

    it('brings few packages, none of which runs or compiles anything', () => {
      const { packages } = JSON.parse(readFileSync(join(app, 'package-lock.json'), 'utf8')) as {
        packages: Record<string, { hasInstallScript?: boolean }>;
      };
      const names = Object.keys(packages).filter(
        (path) => path !== '' && !/\/(typescript|newest|@typescript\/[^/]+)$/.test(path),
      );
      assert.ok(names.length <= 12, names.join('\n'));
      for (const name of names) assert.equal(packages[name]?.hasInstallScript, undefined, name);
      const native = filesOf(app, '.').filter((path) => /\.node$|binding\.gyp$/.test(path));
      assert.deepEqual(native, []);
      for (const path of filesOf(app, 'backup-key-vault-client'))
        assert.doesNotMatch(path, /test|\.map$|(?<!\.d)\.ts$/);
    });

    it('registers and recovers in Node, imported, and required where Node can', async () => {
      const script = `
        const [url, serverPublicKey, accessToken] = process.argv.slice(2);
        const { VaultClient, newBackupKey } = LOADED;
        const vault = new VaultClient({ url, serverPublicKey: Buffer.from(serverPublicKey, 'base64url'), account: 'alice', accessToken: () => accessToken });
        const key = newBackupKey();
        await vault.register('purple otter under glass', key);
        console.log(Buffer.compare(key, (await vault.recover('purple otter under glass')).backupKey));`;
      writeFileSync(
        join(app, 'app.mjs'),
        script.replace('LOADED', "await import('backup-key-vault-client')"),
      );
      const args = [daemon.url, daemon.serverPublicKey, await daemon.jwt('alice')];
      assert.equal(await run(process.execPath, ['app.mjs', ...args], { cwd: app }), '0\n');

      if (!('require_module' in process.features)) return;
      writeFileSync(
        join(app, 'app.cjs'),
        "console.log(typeof require('backup-key-vault-client').VaultClient)",
      );
      assert.equal(await run(process.execPath, ['app.cjs'], { cwd: app }), 'function\n');
    });

    it('has types that TypeScript 5.4, ours and 7 read, in each module resolution that supports `exports`', async () => {
      writeFileSync(
        join(app, 'app.mts'),
        `import { VaultClient, FleetClient, WrongPassword, type AccountStatus } from 'backup-key-vault-client';
const client = new VaultClient({ url: 'https://vault.example', serverPublicKey: new Uint8Array(33), account: 'alice', accessToken: () => 'jwt' });
export const status: Promise<AccountStatus> = client.status();
export const key: Promise<Uint8Array> = client.recover('purple otter under glass').then(({ backupKey }) => backupKey);
export const left = (error: unknown): number => (error instanceof WrongPassword ? error.attemptsRemaining : 0);
export const fleet = (options: ConstructorParameters<typeof FleetClient>[0]) => new FleetClient(options);
// @ts-expect-error a password is text
client.recover(42);
`,
      );
      const strict = {
        strict: true,
        noEmit: true,
        skipLibCheck: false,
        types: [],
        target: 'es2022',
        lib: ['es2022', 'dom'],
      };
      const ways = [{ module: 'node16' }, { module: 'esnext', moduleResolution: 'bundler' }];
      const compilers = [
        join(app, 'node_modules/typescript'),
        resolve('node_modules/typescript'),
        join(app, 'node_modules/newest'),
      ];
      for (const typescript of compilers)
        for (const way of ways) {
          const config = { compilerOptions: { ...strict, ...way }, files: ['app.mts'] };
          writeFileSync(join(app, 'tsconfig.json'), JSON.stringify(config));
          await run(process.execPath, [join(typescript, 'bin/tsc')], { cwd: app });
        }
    });

    it('is small in a page, Argon2id included, and unused parts are left out', async () => {
      const size = async (code: string) => gzipSync(await bundled(code)).length;
      const vault = await size("export { VaultClient } from 'backup-key-vault-client'");
      assert.ok(vault < ONE_VAULT, `${vault} bytes for a client of one vault`);
      const whole = await size("export * from 'backup-key-vault-client'");
      assert.ok(whole < WHOLE, `${whole} bytes for all`);
      const digits = await size("export { formatKey, parseKey } from 'backup-key-vault-client'");
      assert.ok(digits < 3000, `${digits} bytes for the 64 digits alone`);
    });

    it('registers and recovers in a browser, bundled, from an origin that is not the vault', async () => {
      const script = Buffer.from(
        await bundled(`
          import { VaultClient, newBackupKey } from 'backup-key-vault-client';
          globalThis.tryVault = async (url, serverPublicKey, accessToken) => {
            const vault = new VaultClient({ url, serverPublicKey: Uint8Array.from(serverPublicKey), account: 'bob', accessToken: () => accessToken });
            const key = newBackupKey();
            await vault.register('purple otter under glass', key);
            return String(key) === String((await vault.recover('purple otter under glass')).backupKey);
          };`),
      );
      const site = createServer((request, response) => {
        const isScript = request.url === '/app.js';
        response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
        response.end(isScript ? script : '<!doctype html><script type="module" src="/app.js"></script>');
      }).listen(0, '127.0.0.1');
      await once(site, 'listening');
      const origin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
      const vault = await Daemon.start(mkdtempSync(join(work, 'cors-')), { config: `cors: ["${origin}"]\n` });
      const browser = await launch();
      try {
        const page = await browser.newPage();
        await page.goto(origin);
        await page.waitForFunction('globalThis.tryVault');
        const key = [...Buffer.from(vault.serverPublicKey, 'base64url')];
        const args = JSON.stringify([vault.url, key, await vault.jwt('bob')]);
        assert.equal(await page.evaluate(`tryVault(...${args})`), true);
      } finally {
        await browser.close();
        site.close();
        await vault.stop();
      }
    });
  });

  describe('the server', () => {
    it('has what it needs and no tests, and runs', async () => {
      const host = await project('host', tarball(/vault-\d/));
      const name = 'backup-key-vault';
      for (const path of filesOf(host, name))
        assert.doesNotMatch(path, /\btests?\b(?!\.yml)|\bbench\b|\.map$|\.ts$|\bweb\b/, path);
      // The test uses the native modules that are already compiled here. On a user's machine, npm compiles them.
      for (const native of ['better-sqlite3', 'pkcs11js'])
        cpSync(`node_modules/${native}/build`, join(host, 'node_modules', native, 'build'), {
          recursive: true,
        });

      const main = join(host, 'node_modules', name, 'dist/src/cli/main.js');
      const unpacked = await run('tar', ['-tvzf', tarball(/vault-\d/), 'package/dist/src/cli/main.js']);
      assert.match(unpacked, /^-rwxr-xr-x/);
      const version = await run(join(host, 'node_modules/.bin/bkv'), ['--version']);
      assert.equal(version.trim(), JSON.parse(readFileSync('package.json', 'utf8')).version);
      const daemon = await Daemon.start(mkdtempSync(join(work, 'served-')), { main });
      try {
        await daemon.register('alice', 'right');
        assert.equal((await daemon.status('alice')).state, 'registered');
      } finally {
        await daemon.stop();
      }
    });
  });
});
