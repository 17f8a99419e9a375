import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import { TokenError } from '../../src/keeper/pkcs11/index.js';
import type { Token } from '../../src/keeper/pool/index.js';
import { Evaluation } from '../../src/keeper/vault/evaluation.js';
import { Exchanges } from '../../src/keeper/vault/exchanges.js';
import { Finishes } from '../../src/keeper/vault/finishes.js';
import { CodedError } from '../../src/protocol/index.js';

const code = (wanted: string) => (error: unknown) => error instanceof CodedError && error.code === wanted;

describe('exchanges between two messages', () => {
  const { now } = Date;
  afterEach(() => {
    Date.now = now;
  });

  it('cost nobody an attempt when the clock jumps', async () => {
    const expired: string[] = [];
    const open = new Exchanges<{ account: string }>(60_000, ({ account }) => expired.push(account));
    open.add('id', { account: 'alice' });
    Date.now = () => now() + 86_400_000;
    // Wait for the check for expired exchanges, which runs once a second.
    await setTimeout(1100);
    assert.deepEqual(expired, []);
    assert.deepEqual(open.take('id', 'alice'), { account: 'alice' });
    open.close();
  });

  it('say only to their own account that they expired', async () => {
    const open = new Exchanges<{ account: string }>(1, () => undefined);
    open.add('id', { account: 'alice' });
    while (open.size > 0) await setTimeout(5);
    assert.throws(() => open.take('id', 'alice'), code('exchange-expired'));
    assert.throws(() => open.take('id', 'mallory'), code('unknown-exchange'));
    assert.throws(() => open.take('other', 'alice'), code('unknown-exchange'));
    open.close();
  });
});

describe('finishes that are remembered', () => {
  it('begin no work if no more can be remembered, and survive work that fails', async () => {
    const finishes = new Finishes<void>(60_000);
    const failed = Promise.reject(new Error('the token failed'));
    await assert.rejects(
      finishes.once('first', 'alice', [], () => ({ answer: () => failed })),
      /the token failed/,
    );
    const begun: string[] = [];
    const begin = (id: string) => () => {
      begun.push(id);
      return { answer: async () => undefined };
    };
    for (let i = 1; i < 100_000; i++) await finishes.once(`${i}`, 'alice', [], begin('some'));
    await assert.rejects(finishes.once('last', 'alice', [], begin('last')), code('unavailable'));
    assert.ok(!begun.includes('last'));
    finishes.close();
  });
});

describe('a token that does not evaluate', () => {
  it('is reported until a test login of no account succeeds', async () => {
    let broken = true;
    const call = async () => {
      if (broken) throw new TokenError('login: CKR_DEVICE_ERROR', 'CKR_DEVICE_ERROR');
    };
    const evaluation = new Evaluation({ call, state: 'up' } as unknown as Token);
    assert.ok(evaluation.works);
    await assert.rejects(evaluation.run(call), TokenError);
    while (evaluation.works) await setTimeout(5);
    broken = false;
    while (!evaluation.works) await setTimeout(20);
    evaluation.close();
  });
});
