import type { Command } from 'commander';
import { type Damage, prune, snapshots, verify } from '../backup/index.js';
import { backup, restore } from '../files/index.js';
import { openStorage, type Storage } from '../storage/index.js';
import { readKey, withKeyFile } from './key-file.js';
import { say } from './say.js';
import { readState, writeState } from './state.js';
import { progressBar } from './terminal.js';

const size = (bytes: number): string =>
  bytes < 1e6
    ? `${Math.ceil(bytes / 1e3)} kB`
    : bytes < 1e9
      ? `${(bytes / 1e6).toFixed(1)} MB`
      : `${(bytes / 1e9).toFixed(2)} GB`;

export function backupCommands(program: Command): void {
  withKeyFile(
    program
      .command('backup <folder> <backup>')
      .description('encrypt a folder into a backup; only what changed since the last time is stored'),
  ).action(async (folder: string, destination: string, { keyFile }) =>
    run(folder, destination, await readKey(keyFile)),
  );

  withKeyFile(
    program
      .command('restore <backup> <folder>')
      .description('decrypt a backup into a new folder')
      .option('--at <snapshot>', 'a snapshot of bkv snapshots, or a time; without it the newest'),
  ).action(async (source: string, folder: string, { keyFile, at }) =>
    restoreTo(source, folder, await readKey(keyFile), at),
  );

  withKeyFile(program.command('snapshots <backup>').description('list what was backed up, and when')).action(
    async (source: string, { keyFile }) => list(source, await readKey(keyFile)),
  );

  withKeyFile(
    program
      .command('verify <backup>')
      .description('read a backup through and name every file that could not be restored'),
  ).action(async (source: string, { keyFile }) => check(source, await readKey(keyFile)));

  withKeyFile(
    program
      .command('prune <backup>')
      .description('delete old snapshots, and what only they need')
      .requiredOption('--keep <n>', 'how many of the newest snapshots stay'),
  ).action(async (source: string, { keyFile, keep }) => reduce(source, await readKey(keyFile), Number(keep)));
}

async function withStorage(location: string, use: (storage: Storage) => Promise<void>): Promise<void> {
  const storage = await openStorage(location);
  try {
    await use(storage);
  } finally {
    await storage.close();
  }
}

function run(folder: string, destination: string, key: Uint8Array): Promise<void> {
  return withStorage(destination, async (storage) => {
    const { files, bytes, changed } = await backup(folder, storage, key, progressBar('encrypting'));
    compare(await snapshots(storage, key));
    say(`${files} files (${size(bytes)}) are in ${destination}; ${changed} were new or had changed`);
  });
}

function restoreTo(source: string, folder: string, key: Uint8Array, at: string | undefined): Promise<void> {
  return withStorage(source, async (storage) => {
    if (at === undefined) compare(await snapshots(storage, key));
    const { files, bytes, damaged } = await restore(storage, folder, key, {
      ...(at !== undefined && { at }),
      progress: progressBar('restoring'),
    });
    say(`${files} files (${size(bytes)}) are in ${folder}`);
    report(damaged);
  });
}

function list(source: string, key: Uint8Array): Promise<void> {
  return withStorage(source, async (storage) => {
    const found = await snapshots(storage, key);
    compare(found);
    for (const { name, created, files, bytes } of found.snapshots)
      say(`${name}  ${created.toLocaleString()}  ${files} files, ${size(bytes)}`);
    report(
      found.damaged.map((name) => ({ path: '', reason: `snapshot ${name} is damaged, or of another key` })),
    );
  });
}

function check(source: string, key: Uint8Array): Promise<void> {
  return withStorage(source, async (storage) => {
    compare(await snapshots(storage, key));
    const verdict = await verify(storage, key, progressBar('verifying'));
    const { parts, damaged } = verdict;
    report(damaged.map(({ snapshot, path, reason }) => ({ path: path && `${snapshot}: ${path}`, reason })));
    say(
      `${verdict.snapshots} snapshots, ${parts} parts: ${damaged.length === 0 ? 'all is well' : `${damaged.length} files or lists are damaged`}`,
    );
  });
}

function reduce(source: string, key: Uint8Array, keep: number): Promise<void> {
  return withStorage(source, async (storage) => {
    const { snapshots, parts } = await prune(storage, key, keep);
    say(`${snapshots} snapshots and ${parts} parts were deleted`);
  });
}

function report(damaged: readonly Damage[]): void {
  for (const { path, reason } of damaged) say(`damaged: ${path ? `${path} (${reason})` : reason}`);
  if (damaged.length > 0) process.exitCode = 1;
}

/**
 * Warns when the storage shows an older state than this device has seen: each file of it would verify. The newest
 * snapshot that was seen is kept in the user's state folder.
 */
function compare({ id, snapshots: found }: Awaited<ReturnType<typeof snapshots>>): void {
  const seen = readState(id)?.toString().trim() ?? '';
  const newest = found.at(-1)?.name ?? '';
  if (newest < seen)
    process.stderr.write(
      `warning: this device has seen snapshot ${seen}, and the newest there is ${newest || 'none'}: the storage shows an old state\n`,
    );
  if (newest <= seen) return;
  writeState(id, Buffer.from(`${newest}\n`));
}
