import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from './daemon.js';
import { discardData } from './token.js';

/** Requests of each kind; a long run sets more. */
const REQUESTS = Number(process.env.BKV_ORACLE_REQUESTS ?? 1500);
const ACCOUNTS = 20;
/** Welch's t beyond which two means differ, as dudect has it (Reparaz, Balasch, Verbauwhede 2016). */
const LIMIT = 4.5;

/** Of two samples, without the slowest tenth of all: what the machine did meanwhile. */
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

describe(`oracles (${REQUESTS} requests of each kind)`, function () {
  this.timeout(Math.max(120_000, REQUESTS * 60));
  let daemon: Daemon;
  let data: string;
  before(async () => {
    data = mkdtempSync(join(tmpdir(), 'bkv-oracles-'));
    daemon = await Daemon.start(data, {
      config: 'maxAttempts: 200\nrateLimit: { account: 1000000, address: 10000000 }\n',
    });
    for (let i = 0; i < ACCOUNTS; i++) await daemon.register(`known-${i}`, 'right');
  });
  after(async () => {
    await daemon?.stop();
    discardData(data);
  });

  it('a known and an unknown account take the same time, and the same bytes', async () => {
    const times: Record<string, number[]> = { known: [], unknown: [] };
    const sizes: Record<string, Set<string>> = { known: new Set(), unknown: new Set() };
    const perAccount = Math.ceil(REQUESTS / ACCOUNTS);
    assert.ok(perAccount < 200);
    for (let i = 0; i < REQUESTS; i++)
      // In turns, and each first as often: what the machine does falls on both.
      for (const kind of i % 2 ? ['known', 'unknown'] : ['unknown', 'known']) {
        const send = await daemon.prepareRecovery(`${kind}-${i % ACCOUNTS}`, 'wrong');
        const begun = performance.now();
        const answer = await send();
        times[kind]?.push(performance.now() - begun);
        const { attemptsRemaining, ...shape } = answer;
        sizes[kind]?.add(
          Object.entries(shape)
            .map(([name, value]) => `${name} ${String(value).length}`)
            .join(),
        );
      }
    assert.deepEqual(sizes.known, sizes.unknown);
    const t = welch(times.known as number[], times.unknown as number[]);
    assert.ok(Math.abs(t) < LIMIT, `t = ${t.toFixed(1)}: the times tell whether an account is known`);
  });
});
