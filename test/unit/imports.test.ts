import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

/** What each folder of src may import, beside itself: the arrows of the drawing in CONTRIBUTING.md. */
const MAY: Record<string, readonly string[]> = {
  protocol: [],
  process: ['protocol'],
  config: ['protocol'],
  client: ['protocol'],
  storage: ['protocol'],
  backup: ['storage', 'client', 'protocol'],
  files: ['backup', 'storage', 'client', 'protocol'],
  // What prepares a password is the client's, and the custodians' as well.
  keeper: ['config', 'process', 'protocol', 'client'],
  http: ['keeper', 'config', 'process', 'protocol'],
  daemon: ['keeper', 'config', 'process', 'protocol'],
  web: ['daemon', 'process', 'client', 'backup', 'files', 'storage', 'protocol', 'config'],
  cli: ['daemon', 'http', 'keeper', 'config', 'process', 'client', 'backup', 'files', 'storage', 'protocol'],
};
/** The same inside the keeper; only what wires its parts together, in no folder of it, may import them all. */
const KEEPER_MAY: Record<string, readonly string[]> = {
  log: [],
  metrics: [],
  pkcs11: ['log', 'metrics'],
  pool: ['pkcs11', 'log', 'metrics'],
  ledger: ['pool', 'pkcs11', 'log', 'metrics'],
  records: ['log', 'metrics'],
  vault: ['ledger', 'records', 'pool', 'pkcs11', 'log', 'metrics'],
  audit: ['pool', 'pkcs11', 'log', 'metrics'],
  access: ['vault', 'log', 'metrics'],
  socket: ['vault', 'log', 'metrics'],
  custody: ['vault', 'ledger', 'pkcs11', 'log'],
};
/** What of the keeper its callers may load: no token, no database. */
const SEAM = /keeper\/(socket\/index|vault\/api|log\/index)\.ts$/;

const FACE = /\/(index|vault\/api)\.ts$/;

const filesOf = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));
const files = filesOf('src');
const folderOf = (file: string, below = 'src'): string => relative(below, file).split('/')[0] as string;
const importsOf = (file: string): string[] =>
  [...readFileSync(file, 'utf8').matchAll(/(?:from|import\()\s*'(\.[^']+)\.js'/g)].map(([, path]) =>
    relative('.', resolve(dirname(file), `${path}.ts`)),
  );

/** What may be imported where a token is logged in, by commands of the keeper's folder too. test/processes.test.ts sees what is loaded. */
const KEEPER_PACKAGES = [
  '@noble/curves',
  'better-sqlite3',
  'graphene-pk11',
  'hash-wasm',
  'jose',
  'koffi',
  'kysely',
  'pg',
  'pkcs11js',
  'shamir-secret-sharing',
  // For the keys of an identity provider behind a proxy; loaded only where one is named.
  'undici',
  'yaml',
];

describe('imports', () => {
  it('run one way', () => {
    const wrong = files.flatMap((file) =>
      importsOf(file)
        .filter((target) => /^src\/[^/]+\//.test(target) && folderOf(target) !== folderOf(file))
        .filter((target) => !MAY[folderOf(file)]?.includes(folderOf(target)))
        .map((target) => `${file} → ${target}`),
    );
    assert.deepEqual(wrong, []);
  });

  it('run one way inside the keeper, from face to face', () => {
    const inFolder = (file: string) => /^src\/keeper\/[^/]+\//.test(file);
    const part = (file: string) => folderOf(file, 'src/keeper');
    const wrong = files.filter(inFolder).flatMap((file) =>
      importsOf(file)
        .filter((target) => target.startsWith('src/keeper/') && part(target) !== part(file))
        .filter((target) => !KEEPER_MAY[part(file)]?.includes(part(target)) || !FACE.test(target))
        .map((target) => `${file} → ${target}`),
    );
    assert.deepEqual(wrong, []);
  });

  it('the keeper’s folder takes these packages and no others', () => {
    const packagesOf = (file: string) =>
      [...readFileSync(file, 'utf8').matchAll(/(?:from|import\()\s*'((?:@[^/']+\/)?[^./'][^/']*)/g)]
        .map(([, name]) => name as string)
        .filter((name) => !name.startsWith('node:'));
    const taken = files
      .filter((file) => ['keeper', 'config', 'process'].includes(folderOf(file)))
      .flatMap(packagesOf);
    assert.deepEqual([...new Set(taken)].sort(), KEEPER_PACKAGES);
  });

  it('the keeper takes of the client only what custodians type', () => {
    const taken = files
      .filter((file) => folderOf(file) === 'keeper')
      .filter((file) => importsOf(file).some((target) => folderOf(target) === 'client'));
    assert.deepEqual(
      taken.filter((file) => !file.startsWith('src/keeper/custody/')),
      [],
    );
  });

  it('HTTP and supervisor take of the keeper its seam alone', () => {
    const wrong = files
      .filter((file) => ['http', 'daemon'].includes(folderOf(file)))
      .flatMap((file) =>
        importsOf(file)
          .filter((target) => folderOf(target) === 'keeper' && !SEAM.test(target))
          .map((target) => `${file} → ${target}`),
      );
    assert.deepEqual(wrong, []);
  });

  it('benchmarks, and what they share with tests, take nothing of the tests', () => {
    const wrong = [...filesOf('bench'), ...filesOf('rig')].flatMap((file) =>
      importsOf(file)
        .filter((target) => folderOf(target, '.') === 'test')
        .map((target) => `${file} → ${target}`),
    );
    assert.deepEqual(wrong, []);
  });
});
