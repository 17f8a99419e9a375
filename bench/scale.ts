/** A ledger of a million accounts on SoftHSM2: start-up, memory, the cost of an attempt, and the longest stall. */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { softhsmHome } from '../rig/token.js';
import { type Cell, Ledger, tokenStore } from '../src/keeper/ledger/index.js';
import { initializeToken, loadProfile, type Profile } from '../src/keeper/pkcs11/index.js';
import { TokenPool } from '../src/keeper/pool/index.js';
import { fill } from './fill.js';

const ACCOUNTS = Number(process.env.BKV_SCALE_ACCOUNTS ?? 1_000_000);
const SPENDS = 2000;
const WIDTH = 64;

const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};
const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;
const percentile = (sorted: number[], share: number): string =>
  (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] as number).toFixed(1);

/** Attempts alone and many at once, in milliseconds; changes lie on all pages, so that each fold writes another. */
async function attempts(ledger: Ledger, cells: readonly Cell[]): Promise<void> {
  const spend = async (i: number): Promise<number> => {
    const start = performance.now();
    const attempt = ledger.spend([cells[(i * 7919) % cells.length] as Cell]);
    await attempt.durable;
    await ledger.fail(attempt);
    return performance.now() - start;
  };
  for (let i = 0; i < 300; i++) await spend(i);
  const alone: number[] = [];
  for (let i = 0; i < SPENDS; i++) alone.push(await spend(300 + i));
  alone.sort((a, b) => a - b);
  say(
    `  alone        median ${percentile(alone, 0.5)} ms, 99.9th ${percentile(alone, 0.999)} ms, longest ${percentile(alone, 1)} ms`,
  );
  const together: number[] = [];
  let next = 3000;
  const start = performance.now();
  await Promise.all(
    Array.from({ length: WIDTH }, async () => {
      while (next < 3000 + SPENDS * 5) together.push(await spend(next++));
    }),
  );
  const rate = together.length / ((performance.now() - start) / 1000);
  together.sort((a, b) => a - b);
  say(
    `  ${WIDTH} at once   median ${percentile(together, 0.5)} ms, 99.9th ${percentile(together, 0.999)} ms, longest ${percentile(together, 1)} ms, ${rate.toFixed(0)} a second`,
  );
}

/** What a process of its own finds when it opens the ledger. */
async function measure(profile: Profile): Promise<void> {
  const opened = performance.now();
  const token = await TokenPool.open(profile);
  const ledger = await Ledger.open(tokenStore(token), { limit: 200 });
  say(
    `  opened in ${seconds(opened)}, ${ledger.pages} pages, ${(process.memoryUsage().rss / 1e6).toFixed(0)} MB resident`,
  );
  const objects = await token.call('listData', 'bkv.');
  say(
    `  ${objects.length} data objects, ${(objects.reduce((sum, { value }) => sum + value.length, 0) / 1e6).toFixed(2)} MB`,
  );
  // Some of each page: no cell has more attempts than it is given here.
  const cells = ledger
    .snapshot()
    .flatMap(({ generation }, page) =>
      ledger.liveCells(page).flatMap((cell, i) => (i % 131 === 0 ? { cell, generation } : [])),
    );
  await attempts(ledger, cells);
  await ledger.close();
  await token.close();
}

const profileOf = (accounts: number): Profile => ({
  ...loadProfile('hsm-config/softhsm2.yaml'),
  token: { label: `scale-${accounts}` },
});

const measured = Number(process.argv[2]);
if (measured) {
  await measure(profileOf(measured));
  process.exit();
}

const data = softhsmHome('bkv-scale-');
try {
  for (const accounts of [4000, ACCOUNTS]) {
    const profile = profileOf(accounts);
    initializeToken(profile, 'bench-so-pin');
    const token = await TokenPool.open(profile);
    const ledger = await Ledger.open(tokenStore(token), { limit: 200 });
    const begun = performance.now();
    await fill(ledger, accounts);
    say(`${accounts} accounts, filled in ${seconds(begun)}`);
    await ledger.close();
    await token.close();
    execFileSync(process.execPath, [fileURLToPath(import.meta.url), String(accounts)], { stdio: 'inherit' });
  }
} finally {
  rmSync(data, { recursive: true, force: true });
}
