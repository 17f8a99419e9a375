/**
 * Measures vaults of a million and of ten million accounts on SoftHSM2 and SQLite: objects, start-up, memory, and the cost of an attempt.
 * The two are measured in turns, so that their ratio holds on a busy machine too. BKV_SCALE_ACCOUNTS sets other sizes.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { childrenOf, cpuOf } from '../rig/processes.js';
import { softhsmHome } from '../rig/token.js';
import { type Cell, Ledger, tokenStore } from '../src/keeper/ledger/index.js';
import { initializeToken, KEY_LABELS, loadProfile, type Profile } from '../src/keeper/pkcs11/index.js';
import { TokenPool } from '../src/keeper/pool/index.js';
import { Records } from '../src/keeper/records/index.js';
import { Vault } from '../src/keeper/vault/index.js';
import { plant, plantRows } from './plant.js';

const ACCOUNTS = (process.env.BKV_SCALE_ACCOUNTS ?? '1000000,10000000').split(',').map(Number);
const ROUNDS = 6;
const SPENDS = 200;
const WIDTH = 64;
/** Cells in one page object of the first edition, which had 4,096 bytes. */
const FIRST_EDITION_CELLS = 4064;

interface Opened {
  readonly seconds: number;
  readonly objects: number;
  readonly bytes: number;
  readonly resident: number;
  /** processor time until the whole database was looked through, and the memory then; the vault serves meanwhile */
  readonly lookedThrough: number;
  readonly residentThen: number;
}
interface Round {
  /** milliseconds of each attempt, made one after the other */
  readonly alone: number[];
  /** mean processor time of each of these attempts, milliseconds, with the witness's */
  readonly cpu: number;
  /** attempts a second with {@link WIDTH} at once */
  readonly rate: number;
}

const cpuOfFamily = (): number =>
  [process.pid, ...childrenOf(process.pid)].reduce((sum, pid) => sum + cpuOf(pid), 0);
const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};
const percentile = (values: readonly number[], share: number): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] as number;
};
const median = (values: readonly number[]): number => percentile(values, 0.5);

/** Runs in a child process: opens a ledger, reports the cost, and then makes attempts whenever the parent asks. */
async function serve(profile: Profile): Promise<void> {
  const begun = performance.now();
  const token = await TokenPool.open(profile);
  const records = await Records.open(databaseOf(profile));
  await records.prepare();
  const vault = await Vault.open(token, records, { maxAttempts: 200, exchangeLifetime: 60_000 });
  const seconds = (performance.now() - begun) / 1000;
  const resident = process.memoryUsage().rss;
  const cpuBefore = cpuOf(process.pid);
  // Upkeep runs in turns: this sweep of no page waits for what is done at the start.
  await vault.shred();
  const [lookedThrough, residentThen] = [cpuOf(process.pid) - cpuBefore, process.memoryUsage().rss];
  await vault.close();
  await records.close();
  const ledger = await Ledger.open(tokenStore(token), { limit: 200 });
  const objects = await token.call('listData', 'bkv.ledger.');
  process.send?.({
    seconds,
    objects: objects.length,
    bytes: objects.reduce((sum, { value }) => sum + value.length, 0),
    resident,
    lookedThrough,
    residentThen,
  } satisfies Opened);
  // The attempts change all pages, so that each fold writes a different page.
  const pages = ledger
    .snapshot()
    .map(({ generation }, page) => ledger.liveCells(page).map((cell) => ({ cell, generation })));
  let count = 0;
  const spend = async (): Promise<number> => {
    const start = performance.now();
    const cells = pages[count % pages.length] as Cell[];
    const attempt = ledger.spend([cells[(count++ * 7919) % cells.length] as Cell]);
    await attempt.durable;
    await ledger.fail(attempt);
    return performance.now() - start;
  };
  process.on('message', async () => {
    const alone: number[] = [];
    const before = cpuOfFamily();
    for (let i = 0; i < SPENDS; i++) alone.push(await spend());
    const cpu = ((cpuOfFamily() - before) * 1000) / SPENDS;
    const start = performance.now();
    const end = count + SPENDS * 5;
    await Promise.all(
      Array.from({ length: WIDTH }, async () => {
        while (count < end) await spend();
      }),
    );
    process.send?.({ alone, cpu, rate: (SPENDS * 5000) / (performance.now() - start) } satisfies Round);
  });
  process.once('disconnect', async () => {
    await ledger.close();
    await token.close();
  });
}

const databaseOf = ({ token }: Profile): string =>
  join(process.env.BKV_DATA as string, `${token.label}.sqlite`);

const profileOf = (accounts: number): Profile => ({
  ...loadProfile('hsm-config/softhsm2.yaml'),
  token: { label: `scale-${accounts}` },
});

async function make(accounts: number): Promise<void> {
  const profile = profileOf(accounts);
  initializeToken(profile, 'bench-so-pin');
  const token = await TokenPool.open(profile);
  const begun = performance.now();
  const generations = await plant(tokenStore(token), accounts);
  await plantRows(databaseOf(profile), accounts, generations);
  await bind(token, databaseOf(profile));
  say(`${accounts} accounts, planted in ${((performance.now() - begun) / 1000).toFixed(1)} s`);
  await token.close();
}

/** Has the database belong to the token's vault. */
async function bind(token: TokenPool, path: string): Promise<void> {
  const records = await Records.open(path);
  const ledger = await Ledger.open(tokenStore(token), { limit: 200 });
  const serverPublicKey = await token.call('publicKey', KEY_LABELS.static);
  await records.bind({ serverPublicKey, mark: await ledger.mark() });
  await ledger.close();
  await records.close();
}

async function answer<T>(child: ChildProcess): Promise<T> {
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`a process ended with ${code}`);
  });
  ended.catch(() => undefined);
  return ((await Promise.race([once(child, 'message'), ended])) as [T])[0];
}

async function compare(): Promise<void> {
  const sizes = [];
  for (const accounts of ACCOUNTS) {
    const child = fork(fileURLToPath(import.meta.url), [String(accounts)]);
    const opened = await answer<Opened>(child);
    const before = Math.ceil(accounts / FIRST_EDITION_CELLS);
    say(
      `${accounts}: opened in ${opened.seconds.toFixed(1)} s, ${(opened.resident / 1e6).toFixed(0)} MB resident; looked through the database in ${opened.lookedThrough.toFixed(1)} s of processor time, ${(opened.residentThen / 1e6).toFixed(0)} MB; ${opened.objects} objects of ${(opened.bytes / 1e6).toFixed(2)} MB (the first edition had ${before} for its pages: ${(opened.objects / before).toFixed(2)})`,
    );
    sizes.push({ accounts, child, alone: [] as number[], cpu: [] as number[], rates: [] as number[] });
  }
  for (let round = 0; round <= ROUNDS; round++)
    for (const { child, alone, cpu, rates } of sizes) {
      child.send('round');
      const told = await answer<Round>(child);
      // The first round warms up.
      if (round === 0) continue;
      alone.push(...told.alone);
      cpu.push(told.cpu);
      rates.push(told.rate);
    }
  const [smallest] = sizes;
  for (const { accounts, child, alone, cpu, rates } of sizes) {
    const ratio = (median(alone) / median(smallest?.alone ?? alone)).toFixed(2);
    const cpuRatio = (median(cpu) / median(smallest?.cpu ?? cpu)).toFixed(2);
    say(
      `${accounts}: an attempt alone, median ${median(alone).toFixed(1)} ms (${ratio} of the smallest), of processor time ${median(cpu).toFixed(1)} ms (${cpuRatio}), 99.9th ${percentile(alone, 0.999).toFixed(1)} ms; ${WIDTH} at once, ${median(rates).toFixed(0)} a second`,
    );
    child.disconnect();
  }
}

const served = Number(process.argv[2]);
if (served) await serve(profileOf(served));
else {
  const data = softhsmHome('bkv-scale-');
  try {
    for (const accounts of ACCOUNTS) await make(accounts);
    await compare();
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}
