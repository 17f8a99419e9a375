import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from '../rig/daemon.js';
import { Line } from '../rig/line.js';
import { FleetClient, newBackupKey, VaultClient } from '../src/client/index.js';
import { CONFIG } from './http.js';

const ROUNDS = 40;
const work = mkdtempSync(join(tmpdir(), 'bkv-bench-fleet-'));
const daemons: Daemon[] = [];
for (let i = 0; i < 5; i++) {
  mkdirSync(join(work, String(i)));
  daemons.push(await Daemon.start(join(work, String(i)), { config: CONFIG }));
}
const [first, second] = daemons as [Daemon, Daemon];
const line = await Line.open(second);
const jwts = await Promise.all(daemons.map((daemon) => daemon.jwt('fleet')));
const urls = daemons.map(({ url }) => url);
const clientOf = (through: readonly string[]) =>
  new FleetClient({
    vaults: daemons.map((daemon, i) => daemon.fleetEntry(through[i])),
    threshold: 3,
    account: 'fleet',
    accessToken: ({ url }) => jwts[through.indexOf(url)] as string,
  });

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now();
  await work();
  return performance.now() - start;
};
const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number;

// Not Daemon.client(), which skips Argon2id.
const single = new VaultClient({
  url: first.url,
  serverPublicKey: first.fleetEntry().serverPublicKey,
  account: 'single',
  accessToken: () => first.jwt('single'),
});
await single.register('right', newBackupKey());
const fleet = clientOf(urls);
await fleet.register('right', newBackupKey());
// The clients are kept over all rounds, as in an app, so that they learn which vaults are dead or lie.
const dead = clientOf(['http://127.0.0.1:9', ...urls.slice(1)]);
const lying = clientOf(['http://127.0.0.1:9', line.url, ...urls.slice(2)]);
line.mode = 'lie';

const names = ['one vault', '3 of 5', '3 of 5, one dead', '3 of 5, one dead and one lying'];
const all: number[][] = names.map(() => []);
for (let i = -5; i < ROUNDS; i++)
  for (const [n, client] of [single, fleet, dead, lying].entries()) {
    const ms = await timed(() => client.recover('right'));
    if (i >= 0) all[n]?.push(ms);
  }
process.stdout.write(
  `milliseconds of a whole recovery, Argon2id included, median of ${ROUNDS} in turns; five vaults and the client on ${availableParallelism()} cores\n`,
);
const one = median(all[0] as number[]);
for (const [n, name] of names.entries()) {
  const ms = median(all[n] as number[]);
  process.stdout.write(
    `  ${name.padEnd(32)}${ms.toFixed(0).padStart(6)}   ratio ${(ms / one).toFixed(2)} (aim 1.20)\n`,
  );
}
await fleet.settled();
line.close();
await Promise.all(daemons.map((daemon) => daemon.stop()));
rmSync(work, { recursive: true, force: true });
process.exit();
