import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon, type HttpFailure } from '../rig/daemon.js';
import { discardData } from '../rig/token.js';
import { generateKE1 } from '../src/protocol/index.js';

/** Number of requests of each kind. A long run sets more. */
const REQUESTS = Number(process.env.BKV_ORACLE_REQUESTS ?? 300);
/** Two means differ if Welch's t is beyond this, the limit of dudect (Reparaz, Balasch, Verbauwhede 2016). */
const LIMIT = 4.5;

/** Welch's t of two samples. The slowest tenth of all is left out as noise of the machine. */
function welch(a: number[], b: number[]): number {
  const cut = [...a, ...b].sort((x, y) => x - y)[Math.floor((a.length + b.length) * 0.9)] as number;
  const moments = (all: number[]) => {
    const values = all.filter((x) => x <= cut);
    const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
    const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (values.length - 1);
    return { mean, error: variance / values.length };
  };
  const [x, y] = [moments(a), moments(b)];
  return (x.mean - y.mean) / Math.sqrt(x.error + y.error);
}

/** @returns a function that sends a prepared request of that kind */
type Prepare = (kind: string, i: number) => Promise<() => Promise<object>>;

/** Fails if answers to known and to unknown accounts differ in shape, or in their mean times. */
async function compare(what: string, requests: number, prepare: Prepare): Promise<void> {
  const times: Record<string, number[]> = { known: [], unknown: [] };
  const shapes: Record<string, Set<string>> = { known: new Set(), unknown: new Set() };
  for (let i = 0; i < requests; i++)
    // The kinds take turns, and each is first equally often, so that noise of the machine falls on both.
    for (const kind of i % 2 ? ['known', 'unknown'] : ['unknown', 'known']) {
      const send = await prepare(kind, i);
      const begun = performance.now();
      const answer = await send().catch((error: HttpFailure) => ({ status: error.status, ...error.problem }));
      times[kind]?.push(performance.now() - begun);
      shapes[kind]?.add(
        Object.entries({ ...answer, attemptsRemaining: 0 })
          .map(([name, value]) => `${name} ${String(value).length}`)
          .join(),
      );
    }
  assert.deepEqual(shapes.known, shapes.unknown);
  const t = welch(times.known as number[], times.unknown as number[]);
  console.log(`      t = ${t.toFixed(1)}`);
  assert.ok(Math.abs(t) < LIMIT, `${what}: t = ${t.toFixed(1)}: the times tell whether an account is known`);
}
describe(`oracles (${REQUESTS} requests of each kind)`, function () {
  this.timeout(Math.max(120_000, REQUESTS * 100));
  const folders: string[] = [];
  const daemons: Daemon[] = [];
  const start = async (maxAttempts: number, known: number): Promise<Daemon> => {
    const data = mkdtempSync(join(tmpdir(), 'bkv-oracles-'));
    folders.push(data);
    const config = `maxAttempts: ${maxAttempts}\nrateLimit: { account: 1000000, address: 10000000 }\n`;
    const daemon = await Daemon.start(data, { config });
    daemons.push(daemon);
    for (let i = 0; i < known; i++) await daemon.register(`known-${i}`, 'right');
    return daemon;
  };
  after(async () => {
    for (const daemon of daemons) await daemon.stop();
    for (const data of folders) discardData(data);
  });
  /** All first messages are the same, because the client's computing is not compared. */
  const login = generateKE1(Buffer.from('wrong'));
  /** A recovery that ends with a wrong proof. */
  const guess = async (daemon: Daemon, account: string) => {
    const jwt = await daemon.jwt(account);
    const { recoveryId } = await (await daemon.prepareRecovery(account, 'wrong', login))();
    return () =>
      daemon.post(jwt, '/v1/recovery/finish', { recoveryId, KE3: randomBytes(32).toString('base64url') });
  };

  const accounts = Math.ceil(REQUESTS / 180);

  it('a known and an unknown account are answered alike', async () => {
    const daemon = await start(200, accounts);
    await compare('the first message', REQUESTS, (kind, i) =>
      daemon.prepareRecovery(`${kind}-${i % accounts}`, 'wrong', login),
    );
  });

  it('a wrong password and a wrong account are refused alike', async () => {
    const daemon = await start(200, accounts);
    await compare('the proof', REQUESTS, (kind, i) => guess(daemon, `${kind}-${i % accounts}`));
  });

  it('their last attempt, and what comes after it, are refused alike', async () => {
    const some = Math.ceil(REQUESTS / 5);
    const daemon = await start(1, some);
    await compare('the last proof', some, (kind, i) => guess(daemon, `${kind}-${i}`));
    await compare('a locked account', REQUESTS, (kind, i) =>
      daemon.prepareRecovery(`${kind}-${i % some}`, 'wrong', login),
    );
  });
});
