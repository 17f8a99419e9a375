import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { FleetClient, newBackupKey } from '../src/client/index.js';
import { Daemon } from '../test/support/daemon.js';
import { CONFIG } from './http.js';

const ROUNDS = 40;
const work = mkdtempSync(join(tmpdir(), 'bkv-bench-fleet-'));
const daemons: Daemon[] = [];
for (let i = 0; i < 5; i++) {
  mkdirSync(join(work, String(i)));
  daemons.push(await Daemon.start(join(work, String(i)), { config: CONFIG }));
}
const vaults = await Promise.all(daemons.map((daemon) => daemon.fleetEntry()));
const jwts = new Map(await Promise.all(daemons.map(async (d) => [d.url, await d.jwt('fleet')] as const)));
const fleet = new FleetClient({
  vaults,
  threshold: 3,
  account: 'fleet',
  accessToken: ({ url }) => jwts.get(url) as string,
});
const first = daemons[0] as Daemon;
const single = first.client('single');
await fleet.register('right', newBackupKey());
await single.register('right', newBackupKey());

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now();
  await work();
  return performance.now() - start;
};
const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number;
const one: number[] = [];
const three: number[] = [];
for (let i = -5; i < ROUNDS; i++) {
  const [a, b] = [await timed(() => single.recover('right')), await timed(() => fleet.recover('right'))];
  if (i < 0) continue;
  one.push(a);
  three.push(b);
}
process.stdout.write(`milliseconds of a whole recovery, Argon2id included, median of ${ROUNDS} in turns
  one vault    ${median(one).toFixed(0).padStart(6)}
  3 of 5       ${median(three).toFixed(0).padStart(6)}   ratio ${(median(three) / median(one)).toFixed(2)} (aim 1.30), five vaults and the client on ${availableParallelism()} cores
`);
await Promise.all(daemons.map((daemon) => daemon.stop()));
rmSync(work, { recursive: true, force: true });
process.exit();
