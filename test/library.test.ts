import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const LIMIT = 150_000;

describe('the client library', () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-library-'));
  before(() => {
    // As an app sees it: by its name, through its exports.
    mkdirSync(join(work, 'node_modules'));
    symlinkSync(resolve('.'), join(work, 'node_modules', 'backup-key-vault'));
    writeFileSync(join(work, 'package.json'), '{"type":"module"}');
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  /** Bytes, gzipped, of what a browser loads first. @throws when a module of Node would be needed */
  const bundled = async (code: string): Promise<number> => {
    const { outputFiles } = await build({
      stdin: { contents: code, resolveDir: work },
      bundle: true,
      minify: true,
      splitting: true,
      format: 'esm',
      platform: 'browser',
      outdir: work,
      write: false,
      logLevel: 'silent',
    });
    const entry = outputFiles.find(({ path }) => path.endsWith('stdin.js'));
    return gzipSync(entry?.contents as Uint8Array).length;
  };

  it('fits into a page, Argon2id included, and needs nothing of Node', async () => {
    const whole = await bundled("export * from 'backup-key-vault/client'");
    assert.ok(whole < LIMIT, `${whole} bytes`);
    const vault = await bundled("export { VaultClient } from 'backup-key-vault/client'");
    assert.ok(vault < whole);
    const digits = await bundled("export { formatKey, parseKey } from 'backup-key-vault/client'");
    assert.ok(digits < 3000, `${digits} bytes for the 64 digits alone: the rest is not left out`);
  });

  it('has types for who imports it', () => {
    writeFileSync(
      join(work, 'app.ts'),
      `import { VaultClient, WrongPassword, type AccountStatus } from 'backup-key-vault/client';
const client = new VaultClient({ url: 'https://vault.example', serverPublicKey: new Uint8Array(33), account: 'alice', accessToken: () => 'jwt' });
export const status: Promise<AccountStatus> = client.status();
export const left = (error: unknown): number => (error instanceof WrongPassword ? error.attemptsRemaining : 0);
// @ts-expect-error a password is text
client.recover(42);
`,
    );
    const compilerOptions = {
      strict: true,
      noEmit: true,
      target: 'es2023',
      module: 'nodenext',
      lib: ['es2023', 'dom'],
      types: [],
    };
    writeFileSync(join(work, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['app.ts'] }));
    const tsc = resolve('node_modules/typescript/bin/tsc');
    const { status, stdout } = spawnSync(process.execPath, [tsc], { cwd: work, encoding: 'utf8' });
    assert.equal(status, 0, stdout);
  });
});
