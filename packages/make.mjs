/**
 * Makes the packages for publication from the output of `npm run build`: a folder and a tarball each for the client library
 * and for the server, in dist/packages. Run by `npm run pack`.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { gunzipSync, gzipSync } from 'fflate';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const OUT = 'dist/packages';
const root = JSON.parse(readFileSync('package.json', 'utf8'));
const { version, license, engines, type, dependencies } = root;
const common = { version, license, engines, type };

const write = (path, value) => writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
/** Packages that a module imports, directly or not, with their exact versions in this repository. */
async function imported(entry) {
  const { metafile } = await build({
    entryPoints: [entry],
    bundle: true,
    packages: 'external',
    format: 'esm',
    outdir: OUT,
    write: false,
    metafile: true,
  });
  const names = Object.values(metafile.outputs)
    .flatMap(({ imports }) => imports)
    .map(({ path }) => path.match(/^(@[^/]+\/)?[^/]+/)[0]);
  return Object.fromEntries([...new Set(names)].sort().map((name) => [name, dependencies[name]]));
}

async function client() {
  const folder = join(OUT, 'client');
  execFileSync('node_modules/.bin/tsc', ['-p', 'packages/client.tsconfig.json'], { stdio: 'inherit' });
  write(join(folder, 'package.json'), {
    name: 'backup-key-vault-client',
    description:
      'Client of an HSM backup key vault: a backup key, recovered with a password that nobody else learns.',
    ...common,
    sideEffects: false,
    exports: { '.': { types: './client/index.d.ts', default: './client/index.js' } },
    dependencies: await imported(join(folder, 'client/index.js')),
  });
  cpSync('docs/client.md', join(folder, 'README.md'));
  return folder;
}

/** The parts of `src` that run on a server or behind `bkv`: all except the page, which is built into an app. */
const SERVER = [
  'backup',
  'cli',
  'client',
  'config',
  'daemon',
  'files',
  'http',
  'keeper',
  'process',
  'protocol',
  'storage',
];

const SERVER_README = `# HSM Backup Key Vault: the server, and \`bkv\`

[docs/operator.md](docs/operator.md) says how to install, run and watch it, [docs/cli.md](docs/cli.md) has every command,
[CHANGELOG.md](CHANGELOG.md) what an upgrade changes. Units for systemd lie in \`systemd\`, profiles of tokens in \`hsm-config\`.
`;

function server() {
  const folder = join(OUT, 'server');
  const onlyCode = (path) => !/\.(d\.ts|js\.map)$/.test(path);
  for (const part of [...SERVER, 'version.js'])
    cpSync(`dist/src/${part}`, join(folder, 'dist/src', part), { recursive: true, filter: onlyCode });
  for (const name of ['hsm-config', 'monitoring', 'docs', 'CHANGELOG.md'])
    cpSync(name, join(folder, name), { recursive: true, filter: (path) => path !== 'docs/pictures' });
  mkdirSync(join(folder, 'systemd'));
  for (const name of readdirSync('softhsm').filter((name) => /\.(service|tmpfiles\.conf)$/.test(name)))
    cpSync(join('softhsm', name), join(folder, 'systemd', name));
  writeFileSync(join(folder, 'README.md'), SERVER_README);
  const described = {
    name: root.name,
    description: root.description,
    ...common,
    bin: root.bin,
    dependencies,
    allowScripts: root.allowScripts,
  };
  write(join(folder, 'package.json'), described);
  write(join(folder, 'npm-shrinkwrap.json'), locked(described));
  return folder;
}

/** The lock file without development packages, so that the server is installed with the versions that were tested. */
function locked(described) {
  const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'));
  const { allowScripts: _, ...rootEntry } = described;
  const packages = Object.entries(lock.packages).filter(([path, { dev }]) => path !== '' && !dev);
  return { ...lock, name: described.name, packages: { '': rootEntry, ...Object.fromEntries(packages) } };
}

/**
 * Sets the modes of files, which the tarball keeps, so that they do not depend on the umask. npm makes programs executable
 * only if it links them itself. Here they are made executable for somebody who unpacks the tarball by hand as well.
 */
function setModes(folder) {
  const programs = Object.values(root.bin);
  for (const path of readdirSync(folder, { recursive: true })) {
    const isFile = statSync(join(folder, path)).isFile();
    chmodSync(join(folder, path), isFile && !programs.includes(path) ? 0o644 : 0o755);
  }
}

/** Compresses a tarball again with fixed settings, so that the same files give the same bits. */
function compressAlike(tarball) {
  writeFileSync(tarball, gzipSync(gunzipSync(readFileSync(tarball)), { level: 9, mtime: 0 }));
}

rmSync(OUT, { recursive: true, force: true });
for (const make of [client, server]) {
  const folder = await make();
  cpSync('LICENSE', join(folder, 'LICENSE'));
  setModes(folder);
  execFileSync('npm', ['pack', '--silent', '--pack-destination', OUT, `./${folder}`], { stdio: 'inherit' });
}
for (const name of readdirSync(OUT).filter((name) => name.endsWith('.tgz'))) compressAlike(join(OUT, name));
