import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { Daemon } from '../rig/daemon.js';
import { softhsmHome } from '../rig/token.js';
import { type Cell, Ledger, tokenStore } from '../src/keeper/ledger/index.js';
import { initializeToken, loadProfile } from '../src/keeper/pkcs11/index.js';
import { TokenPool } from '../src/keeper/pool/index.js';
import type { Mix } from './bare.js';
import { fill } from './fill.js';
import { CONFIG, recoveries, registerAccounts, warmUp } from './http.js';
import { type Parts, partsOf, peerLogin, spent } from './processor.js';
import { type Alone, httpAlone } from './workers.js';

const data = softhsmHome('bkv-bench-');

const fixed = (n: number, digits = 0): string => n.toFixed(digits).padStart(9);
const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

let labels = 0;
function freshProfile() {
  const profile = { ...loadProfile('hsm-config/softhsm2.yaml'), token: { label: `bench-${labels++}` } };
  initializeToken(profile, 'bench-so-pin');
  return profile;
}

/**
 * Makes the token calls of `count` recoveries with nothing between them, on as many threads as there are cores, each with its
 * own session. All cores are then busy, as they are when the daemon is measured. @returns recoveries per second of one core
 */
async function bare(mix: Mix, count: number): Promise<number> {
  const profile = freshProfile();
  const workers = Array.from(
    { length: availableParallelism() },
    () => new Worker(new URL('./bare.js', import.meta.url), { workerData: { profile, mix, count } }),
  );
  const all = (what?: string) =>
    Promise.all(
      workers.map((worker) => {
        const answer = once(worker, 'message');
        if (what) worker.postMessage(what);
        return answer;
      }),
    );
  await all();
  await all('warm');
  const before = process.cpuUsage();
  await all('run');
  const { user, system } = process.cpuUsage(before);
  for (const worker of workers) worker.postMessage('end');
  return (workers.length * count) / ((user + system) / 1e6);
}

async function costOfAttempt(accounts: number): Promise<number> {
  const token = await TokenPool.open(freshProfile());
  const ledger = await Ledger.open(tokenStore(token), { limit: 200 });
  const cells = await fill(ledger, accounts);
  const spend = async (n: number) => {
    for (let i = 0; i < n; i++) await ledger.spend([cells[(i * 7919) % cells.length] as Cell]).durable;
  };
  // Start to measure after the first fold.
  await spend(200);
  const start = performance.now();
  await spend(600);
  const ms = (performance.now() - start) / 600;
  await ledger.close();
  await token.close();
  return ms;
}

const quick = process.argv.includes('--quick');
const many = quick ? 200 : 1000;
const rounds = quick ? 1 : 3;
/** recoveries after which V8 has compiled the daemon's code */
const WARMING = 8000;
const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number;

const daemonData = join(data, 'daemon');
mkdirSync(daemonData);
const daemon = await Daemon.start(daemonData, { config: CONFIG });
const accounts = await registerAccounts(daemon, many);
await warmUp(daemon, accounts, Math.ceil(WARMING / many));
const called = (operation: string) =>
  daemon.metric(`bkv_token_operation_duration_seconds_count\\{operation="${operation}",[^}]*outcome="ok"\\}`);
const operations = async () => ({
  hmac: await called('hmac'),
  login: await called('login'),
  replaceData: await called('createData'),
});
const before = await operations();
const parts: Parts[] = [];
const measured = async () => {
  const partsBefore = partsOf(daemon);
  const result = await recoveries(daemon, accounts, 64);
  parts.push(spent(partsBefore, partsOf(daemon)));
  return result;
};
const over = [await measured()];
const after = await operations();
const share = (name: keyof Mix) => (after[name] - before[name]) / many;
const mix = {
  hmac: share('hmac'),
  login: share('login'),
  replaceData: share('replaceData'),
};
// The sides are measured in turns, because other load on the machine varies.
const alone = [await bare(mix, many)];
const peer = [await peerLogin(quick ? 50 : 200)];
for (let round = 1; round < rounds; round++) {
  over.push(await measured());
  alone.push(await bare(mix, many));
  peer.push(await peerLogin(200));
}
const ratio = median(over.map(({ count, cpu }, i) => count / cpu / (alone[i] as number)));
say(`recoveries per second of one core, median of ${rounds}`);
say(`  bare token calls, all cores  ${fixed(median(alone))}   the same calls: ${JSON.stringify(mix)}`);
say(
  `  over HTTP, whole daemon      ${fixed(median(over.map(({ count, cpu }) => count / cpu)))}   ratio ${ratio.toFixed(2)} (aim 0.60)`,
);
say(
  `  over HTTP, by the clock      ${fixed(median(over.map(({ count, wall }) => count / wall)))}   on ${availableParallelism()} cores, which the load generator shares`,
);

say(`\nmilliseconds of processor time of one recovery, median of ${rounds}`);
const each = (part: keyof Parts) => (median(parts.map((one) => one[part])) * 1000) / many;
const total = each('main') + each('token') + each('http') + each('rest');
const login = median(peer);
say(`  keeper, main thread          ${fixed(each('main'), 2)}`);
say(`  keeper, token threads        ${fixed(each('token'), 2)}`);
say(`  HTTP                         ${fixed(each('http'), 2)}`);
say(`  supervisor and witness       ${fixed(each('rest'), 2)}`);
say(`  all together                 ${fixed(total, 2)}`);
say(`  bare token calls             ${fixed(1000 / median(alone), 2)}`);
say(`  startLogin of opaque-p256    ${fixed(login, 2)}   no HSM, HTTP or counter`);
say(`  all together, to the peer    ${fixed(total / login, 2)}   (aim 1.00)`);

say('\nattempts that share one token write');
for (const width of [1, 16, 128]) {
  const sum = () => daemon.metric('bkv_ledger_batch_changes_sum');
  const count = () => daemon.metric('bkv_ledger_batch_changes_count');
  const [sum0, count0] = [await sum(), await count()];
  await recoveries(daemon, accounts.slice(0, Math.min(many, width * 20)), width);
  say(
    `  ${String(width).padStart(4)} clients ${fixed(((await sum()) - sum0) / ((await count()) - count0), 1)}`,
  );
}
await daemon.stop();

say(`\nHTTP alone, before a keeper that answers at once, median of ${rounds}`);
const front: Record<1 | 2, Alone[]> = { 1: [], 2: [] };
for (let round = 0; round < rounds; round++)
  for (const workers of [1, 2] as const) front[workers].push(await httpAlone(workers, quick ? 3 : 5));
for (const workers of [1, 2] as const) {
  const typical = (part: keyof Alone) => median(front[workers].map((one) => one[part]));
  const ms = (part: keyof Alone) => typical(part).toFixed(2);
  say(
    `  ${workers} worker${workers > 1 ? 's' : ' '} ${fixed(typical('rate'))} recoveries a second by the clock`,
  );
  say(`            ${fixed(typical('ceiling'))} if the busiest worker had a core of its own`);
  say(
    `            ${ms('http')} ms of processor time of one in HTTP, ${ms('keeper')} in the stand-in for a keeper, ${ms('generator')} in the load generator`,
  );
}

say('\nmilliseconds of one attempt, alone (token write included)');
const small = await costOfAttempt(1000);
const large = await costOfAttempt(quick ? 10_000 : 100_000);
say(`  1,000 accounts   ${fixed(small, 2)}`);
say(`  100,000 accounts ${fixed(large, 2)}   ratio ${(large / small).toFixed(2)} (limit 1.50)`);
rmSync(data, { recursive: true, force: true });
process.exit();
