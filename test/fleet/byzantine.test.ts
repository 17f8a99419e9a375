import assert from 'node:assert/strict';
import { seed } from '../../rig/random.js';
import { Life } from './life.js';
import { Owner } from './owner.js';

const LIVES = Number(process.env.BKV_LIVES ?? 15);
/** a tenth of the lives, repeated with the keeper's own vaults */
const REAL_LIVES = Number(process.env.BKV_REAL_LIVES ?? Math.ceil(LIVES / 10));
const ACTS = 8;

describe(`lives of accounts among liars (BKV_SEED=${seed})`, function () {
  this.timeout(0);
  it(`${LIVES} lives: the right password gives the key or too few vaults, nothing locks, what has ended stays so`, async () => {
    await liveAll(LIVES, false);
  });

  it(`${REAL_LIVES} of them at the keeper's own vaults, over tokens in memory`, async () => {
    await liveAll(REAL_LIVES, true);
  });
});

async function liveAll(lives: number, isReal: boolean): Promise<void> {
  const first = Number(process.env.BKV_LIFE ?? 0);
  const failures: string[] = [];
  for (let n = first; n < first + lives; n++) {
    const failure = await live(n, isReal);
    if (failure === undefined) continue;
    console.error(failure);
    failures.push(failure);
  }
  assert.equal(failures.length, 0, `${failures.length} of ${lives} lives went wrong`);
}

/** @returns the fault of a life with the steps that led to it, if it had one */
async function live(n: number, isReal: boolean): Promise<string | undefined> {
  const life = new Life(`${seed}.${n}`, isReal);
  const owner = new Owner(life);
  try {
    if (life.isSiege) await owner.besiege();
    else for (let i = 0; i < ACTS; i++) await owner.act();
    return undefined;
  } catch (error) {
    const { members, threshold, liars } = owner.fleet;
    const faulty = members.flatMap((one) => (one.liar ? one.url : one.isForgetful ? `(${one.url})` : []));
    const shape = `BKV_SEED=${seed} BKV_LIFE=${n}: ${threshold} of ${members.length}, b = ${liars}, faulty: ${faulty.join(', ')}`;
    return `${(error as Error).stack}\n${shape}\n${owner.ways.join('\n')}`;
  } finally {
    await life.end();
  }
}
