import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

/** The other folders that each folder of src may import: the arrows in docs/architecture.md. */
const MAY: Record<string, readonly string[]> = {
  protocol: [],
  process: ['protocol'],
  config: ['protocol'],
  client: ['protocol'],
  storage: ['protocol'],
  backup: ['storage', 'client', 'protocol'],
  files: ['backup', 'storage', 'client', 'protocol'],
  // The keeper prepares the custodians' passwords with the client's code.
  keeper: ['config', 'process', 'protocol', 'client'],
  http: ['keeper', 'config', 'process', 'protocol'],
  daemon: ['keeper', 'config', 'process', 'protocol'],
  web: ['daemon', 'process', 'client', 'backup', 'files', 'storage', 'protocol', 'config'],
  cli: ['daemon', 'http', 'keeper', 'config', 'process', 'client', 'backup', 'files', 'storage', 'protocol'],
};
/** The same inside the keeper. Only the files in no folder, which wire its parts together, may import them all. */
const KEEPER_MAY: Record<string, readonly string[]> = {
  log: [],
  metrics: [],
  elements: [],
  pkcs11: ['elements', 'log', 'metrics'],
  pool: ['pkcs11', 'log', 'metrics'],
  ledger: ['pool', 'pkcs11', 'log', 'metrics'],
  records: ['log', 'metrics'],
  vault: ['ledger', 'records', 'pool', 'pkcs11', 'elements', 'log', 'metrics'],
  audit: ['pool', 'pkcs11', 'log', 'metrics'],
  access: ['vault', 'log', 'metrics'],
  socket: ['vault', 'log', 'metrics'],
  custody: ['vault', 'ledger', 'pkcs11', 'log'],
};
/** Files of the keeper that its callers may load. They load no token and no database. */
const SEAM = /keeper\/(socket\/index|vault\/api|elements\/index|log\/index)\.ts$/;

const FACE = /\/(index|vault\/api)\.ts$/;
/** Faces of folders besides their `index.ts`, and what they spare those who import them: docs/architecture.md. */
const FACES = new Map([
  ['src/protocol/terms.ts', 'what computes'],
  ['src/client/written.ts', 'the vault'],
  ['src/config/check.ts', 'what is about the daemon'],
  ['src/storage/storage.ts', 'folders, for the browser'],
  ['src/keeper/vault/api.ts', 'the vault behind the seam'],
  // What `cli/main.ts` starts before it loads anything else.
  ['src/keeper/main.ts', ''],
  ['src/http/main.ts', ''],
  ['src/http/admin-main.ts', ''],
  ['src/process/stop.ts', ''],
  ['src/process/fail.ts', ''],
]);

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

/** Packages that code of the keeper's folder may import. test/processes.test.ts checks what its process really loads. */
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
  // undici fetches an identity provider's keys through a proxy. It is loaded only if a proxy is configured.
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

  it('run from face to face', () => {
    const isFace = (file: string) => /^src\/(\w+|keeper\/\w+)\/index\.ts$/.test(file);
    const past = files.flatMap((file) =>
      importsOf(file)
        .filter((target) => /^src\/[^/]+\//.test(target) && folderOf(target) !== folderOf(file))
        .filter((target) => !isFace(target))
        .map((target) => ({ file, target })),
    );
    assert.deepEqual(
      past.filter(({ target }) => !FACES.has(target)).map(({ file, target }) => `${file} → ${target}`),
      [],
    );
    const used = new Set(past.map(({ target }) => target));
    assert.deepEqual(
      [...FACES.keys()].filter((face) => !used.has(face)),
      [],
    );
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

  it('the keeper’s folder imports these packages and no others', () => {
    const packagesOf = (file: string) =>
      [...readFileSync(file, 'utf8').matchAll(/(?:from|import\()\s*'((?:@[^/']+\/)?[^./'][^/']*)/g)]
        .map(([, name]) => name as string)
        .filter((name) => !name.startsWith('node:'));
    const taken = files
      .filter((file) => ['keeper', 'config', 'process'].includes(folderOf(file)))
      .flatMap(packagesOf);
    assert.deepEqual([...new Set(taken)].sort(), KEEPER_PACKAGES);
  });

  it('the keeper imports of the client only what handles the custodians’ typing', () => {
    const taken = files
      .filter((file) => folderOf(file) === 'keeper')
      .filter((file) => importsOf(file).some((target) => folderOf(target) === 'client'));
    assert.deepEqual(
      taken.filter((file) => !file.startsWith('src/keeper/custody/')),
      [],
    );
  });

  it('HTTP and supervisor import only the seam of the keeper', () => {
    const wrong = files
      .filter((file) => ['http', 'daemon'].includes(folderOf(file)))
      .flatMap((file) =>
        importsOf(file)
          .filter((target) => folderOf(target) === 'keeper' && !SEAM.test(target))
          .map((target) => `${file} → ${target}`),
      );
    assert.deepEqual(wrong, []);
  });

  it('benchmarks, and what they share with tests, import nothing from the tests', () => {
    const wrong = [...filesOf('bench'), ...filesOf('rig')].flatMap((file) =>
      importsOf(file)
        .filter((target) => folderOf(target, '.') === 'test')
        .map((target) => `${file} → ${target}`),
    );
    assert.deepEqual(wrong, []);
  });
});
