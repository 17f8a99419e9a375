import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { type Storage, StorageError } from './storage.js';
import { WebDavStorage } from './webdav.js';

const STARTED = /http:\/\/127\.0\.0\.1:\d+\//;

/**
 * Whatever rclone reaches (Google Drive, iCloud, Dropbox, …): `rclone:remote:path`. rclone serves it as WebDAV on
 * loopback for this process alone, under a password that is made here.
 * @throws StorageError when rclone is missing or does not know the remote
 */
export async function openRclone(location: string): Promise<Storage> {
  const remote = location.slice('rclone:'.length);
  const credentials = { username: 'bkv', password: randomBytes(24).toString('base64url') };
  const server = spawn(
    'rclone',
    ['serve', 'webdav', remote, '--addr', '127.0.0.1:0', '--log-level', 'NOTICE'],
    {
      env: {
        ...withoutOwn(process.env),
        RCLONE_USER: credentials.username,
        RCLONE_PASS: credentials.password,
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  const url = await started(location, server);
  const end = () => void server.kill();
  process.once('exit', end);
  const storage = new WebDavStorage(location, url, credentials);
  storage.close = async () => {
    process.removeListener('exit', end);
    const ended = new Promise((resolve) => server.once('exit', resolve));
    end();
    await ended;
  };
  return storage;
}

/** rclone reads many variables, but needs no access token and no password of this program. */
const withoutOwn = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('BKV_')));

function started(location: string, server: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = '';
    server.once('error', () =>
      reject(new StorageError(`${location} needs the program rclone; install it, and configure the remote`)),
    );
    server.once('exit', () => reject(new StorageError(`${location}: rclone ended: ${said.trim()}`)));
    createInterface({ input: server.stderr as NodeJS.ReadableStream }).on('line', (line) => {
      said = line;
      const [url] = STARTED.exec(line) ?? [];
      if (url) resolve(url);
    });
  });
}
