/**
 * Load for minutes. Clients register, guess, recover, ask for their status and wait. At the end, each account's counter is
 * compared with what its client has seen. BKV_SOAK_CLIENTS, BKV_SOAK_SECONDS and BKV_SOAK_WAIT (mean seconds between two
 * actions of a client) change the load. With a wait of 0, the machine is fully busy all the time.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Daemon, HttpFailure } from '../rig/daemon.js';
import { randomNumbers } from '../rig/random.js';

const CLIENTS = Number(process.env.BKV_SOAK_CLIENTS ?? 500);
const SECONDS = Number(process.env.BKV_SOAK_SECONDS ?? 600);
const WAIT = Number(process.env.BKV_SOAK_WAIT ?? 5);
const MAX = 10;

const CONFIG = `maxAttempts: ${MAX}\nexchangeSeconds: 600\nrateLimit: { account: 1000000, address: 10000000 }\n`;

const data = mkdtempSync(join(tmpdir(), 'bkv-soak-'));
const daemon = await Daemon.start(data, { config: CONFIG });
const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};
const memory = (): number => daemon.memory() / 1e6;

/** Attempts of each account, as its client counts them. */
const used = new Array<number>(CLIENTS).fill(0);
const latencies: number[] = [];
const failures = new Map<string, number>();
const end = performance.now() + SECONDS * 1000;

async function client(i: number): Promise<void> {
  const account = `client-${i}`;
  const random = randomNumbers(i);
  const wait = (): Promise<void> => setTimeout(random() * 2 * WAIT * 1000);
  await wait();
  await daemon.register(account, 'right');
  for (let n = 0; performance.now() < end; n++) {
    if (WAIT > 0) await wait();
    const kind = (n * 7 + i) % 10;
    const begun = performance.now();
    try {
      if (kind === 0) {
        await daemon.register(account, 'right');
        used[i] = 0;
      } else if (kind < 4 && (used[i] as number) < MAX - 2) {
        const { abandon } = await daemon.startRecovery(account, 'wrong');
        used[i] = (used[i] as number) + 1;
        await abandon();
      } else if (kind < 9) {
        const { prove } = await daemon.startRecovery(account, 'right');
        used[i] = (used[i] as number) + 1;
        await prove();
        used[i] = 0;
      } else await daemon.status(account);
      latencies.push(performance.now() - begun);
    } catch (error) {
      const what = error instanceof HttpFailure ? String(error.status) : (error as Error).message;
      failures.set(what, (failures.get(what) ?? 0) + 1);
    }
  }
}

const samples: number[] = [];
const sampling = setInterval(() => samples.push(memory()), (SECONDS * 1000) / 10);
await Promise.all(Array.from({ length: CLIENTS }, (_, i) => client(i)));
clearInterval(sampling);

let wrong = 0;
for (let i = 0; i < CLIENTS; i++) {
  const { attemptsRemaining } = await daemon.status(`client-${i}`);
  if (attemptsRemaining !== MAX - (used[i] as number)) wrong++;
}
latencies.sort((a, b) => a - b);
const at = (share: number): string =>
  `${(latencies[Math.floor((latencies.length - 1) * share)] as number).toFixed(0)} ms`;
say(
  `${CLIENTS} clients, ${SECONDS} s, a wait of ${WAIT} s between actions: ${latencies.length} actions, ${(latencies.length / SECONDS).toFixed(0)} a second`,
);
say(`latency of an action: median ${at(0.5)}, 99th ${at(0.99)}, 99.9th ${at(0.999)}, longest ${at(1)}`);
say(`memory of the daemon, MB, tenth by tenth: ${samples.map((mb) => mb.toFixed(0)).join(' ')}`);
say(
  `failures: ${failures.size === 0 ? 'none' : [...failures].map(([what, n]) => `${what}: ${n}`).join(', ')}`,
);
say(`accounts whose counter is not what its client has counted: ${wrong}`);
await daemon.stop();
rmSync(data, { recursive: true, force: true });
process.exit(wrong > 0 ? 1 : 0);
