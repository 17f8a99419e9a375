import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Daemon, HttpFailure } from '../rig/daemon.js';
import { randomNumbers, seed } from '../rig/random.js';
import { discardData } from '../rig/token.js';
import { EnvelopeRecoveryError } from '../src/protocol/index.js';
import { type Call, isLinearizable, type Recorded } from './support/history.js';
import { Postgres } from './support/postgres.js';

const MAX = 4;
const CONFIG = `maxAttempts: ${MAX}\nrateLimit: { account: 100000, address: 100000 }\n`;

/** Whether a call certainly had no effect, because nobody listened or only a standby did. */
function neverArrived(error: unknown): boolean {
  const { code, cause, problem } = error as {
    code?: string;
    cause?: { code?: string };
    problem?: { detail?: string };
  };
  return (code ?? cause?.code) === 'ECONNREFUSED' || /stands by/.test(problem?.detail ?? '');
}

/** Makes concurrent calls in several lanes to a few accounts, and records them with their answers. */
class Recorder {
  readonly histories = new Map<string, Recorded[]>();
  exchanges = 0;
  running = true;

  /** @param daemon the one to ask now @param withDeletes false for a fail-over, which resets the counts of unknown accounts */
  constructor(
    readonly daemon: () => Daemon,
    readonly withDeletes: boolean,
  ) {}

  /** Records a call. If a failure does not tell whether the call had an effect, its answer stays open. */
  async #call<T>(
    account: string,
    call: Call,
    work: () => Promise<T>,
    answer: (value: T) => Call['answer'],
    refused?: (failure: HttpFailure) => Call['answer'],
  ) {
    const history = this.histories.get(account) ?? [];
    this.histories.set(account, history);
    const begun = performance.now();
    const record = (answer: Call['answer']) =>
      history.push({
        ...call,
        ...(answer !== undefined && { answer }),
        begun,
        ended: performance.now(),
      } as Recorded);
    try {
      const value = await work();
      record(answer(value));
      return value;
    } catch (error) {
      // The envelope did not open, so the client sent no proof.
      if (error instanceof EnvelopeRecoveryError) return undefined;
      await setTimeout(20);
      if (neverArrived(error)) return undefined;
      record(error instanceof HttpFailure && error.status < 500 ? refused?.(error) : undefined);
      return undefined;
    }
  }

  async lane(name: string, account: string): Promise<void> {
    const roll = randomNumbers(`${seed} ${name} ${account}`);
    while (this.running) {
      const luck = roll();
      const daemon = this.daemon();
      const ok = () => 'ok' as const;
      if (luck < 0.1)
        await this.#call(account, { op: 'register' }, () => daemon.register(account, 'right'), ok);
      else if (luck < 0.15 && this.withDeletes)
        await this.#call(
          account,
          { op: 'delete' },
          async () => {
            const { status } = await daemon.fetch(account, 'DELETE', '/v1/account');
            if (status !== 204) throw new HttpFailure(status, {});
          },
          ok,
        );
      else if (luck < 0.3)
        await this.#call(
          account,
          { op: 'status' },
          () => daemon.status(account),
          ({ state, attemptsRemaining }) =>
            state === undefined || (state as unknown) === 503
              ? undefined
              : { state, remaining: attemptsRemaining ?? 0 },
        );
      else {
        const exchange = this.exchanges++;
        const right = luck < 0.6;
        const started = await this.#call(
          account,
          { op: 'start', exchange },
          () => daemon.startRecovery(account, right ? 'right' : 'wrong'),
          ({ attemptsRemaining }) => ({ remaining: attemptsRemaining }),
          ({ status }) => (status === 423 ? 'locked' : undefined),
        );
        if (!started) await setTimeout(5);
        // If the account is not registered or has another password, no proof is sent, and the exchange stays open.
        else if (right)
          await this.#call(account, { op: 'prove', exchange }, started.prove, ok, () => 'refused');
        else
          await this.#call(
            account,
            { op: 'fail', exchange },
            async () => {
              const { status } = await started.abandon();
              if (status !== 204) throw new HttpFailure(status, {});
            },
            ok,
            () => 'refused',
          );
      }
    }
  }

  /** Runs all lanes during `work`. @throws AssertionError if the recorded history is not linearizable */
  async during(work: () => Promise<unknown>): Promise<void> {
    const lanes = Array.from({ length: 12 }, (_, i) => this.lane(`lane ${i}`, `account ${i % 4}`));
    await work();
    // On a slow machine, wait for enough calls.
    while (this.#calls() <= 100) await setTimeout(100);
    this.running = false;
    await Promise.all(lanes);
    this.check();
  }

  #calls(): number {
    return [...this.histories.values()].reduce((sum, { length }) => sum + length, 0);
  }

  /** @throws AssertionError naming the account whose history has no explanation */
  check(): void {
    for (const [account, history] of this.histories)
      assert.ok(isLinearizable(history, MAX), `${account}: ${JSON.stringify(history)}`);
  }
}

describe(`linearizability (BKV_SEED=${seed})`, function () {
  this.timeout(120_000);

  it('the checker refuses impossible histories', () => {
    const at = (begun: number, ended: number, call: Call): Recorded =>
      ({ ...call, begun, ended }) as Recorded;
    const registered = at(0, 1, { op: 'register', answer: 'ok' });
    const start = (begun: number, ended: number, exchange: number, remaining: number) =>
      at(begun, ended, { op: 'start', exchange, answer: { remaining } });
    assert.ok(isLinearizable([registered, start(2, 3, 0, 3), start(4, 5, 1, 2)], MAX));
    assert.ok(isLinearizable([registered, start(2, 5, 0, 2), start(3, 4, 1, 3)], MAX), 'at the same time');
    assert.ok(
      !isLinearizable([registered, start(2, 3, 0, 3), start(4, 5, 1, 3)], MAX),
      'an attempt came back',
    );
    assert.ok(!isLinearizable([registered, start(2, 3, 0, 2), start(4, 5, 1, 3)], MAX), 'in the wrong order');
    const proven = at(4, 5, { op: 'prove', exchange: 0, answer: 'ok' });
    assert.ok(isLinearizable([registered, start(2, 3, 0, 3), proven, start(6, 7, 1, 3)], MAX));
    const again = at(4, 5, { op: 'register', answer: 'ok' });
    const late = at(6, 7, { op: 'prove', exchange: 0, answer: 'ok' });
    assert.ok(!isLinearizable([registered, start(2, 3, 0, 3), again, late], MAX), 'of an older registration');
    const refused = at(4, 9, { op: 'prove', exchange: 0, answer: 'refused' });
    const after = [refused, start(5, 6, 1, 3)];
    const replaced = at(7, 8, { op: 'register', answer: 'ok' });
    assert.ok(
      isLinearizable([registered, start(2, 3, 0, 3), ...after, replaced], MAX),
      'proven, then replaced',
    );
    assert.ok(!isLinearizable([registered, start(2, 3, 0, 3), ...after], MAX), 'refused without a reason');
    const tooLate = at(10, 11, { op: 'register', answer: 'ok' });
    assert.ok(
      !isLinearizable([registered, start(2, 3, 0, 3), ...after, tooLate], MAX),
      'replaced after the answer',
    );
    const unknown = at(2, 3, { op: 'start', exchange: 0 });
    for (const remaining of [2, 3])
      assert.ok(isLinearizable([registered, unknown, start(4, 5, 1, remaining)], MAX), 'it may have counted');
  });

  it('of attempts, successes, registrations and deletions at the same time over one daemon', async () => {
    const data = mkdtempSync(join(tmpdir(), 'bkv-linear-'));
    mkdirSync(data, { recursive: true });
    const daemon = await Daemon.start(data, { config: CONFIG });
    try {
      const recorder = new Recorder(() => daemon, true);
      await recorder.during(() => setTimeout(2500));
    } finally {
      await daemon.stop();
      discardData(data);
    }
  });

  it('of the same while HTTP workers are killed: no attempt comes back, and no client waits for ever', async () => {
    const data = mkdtempSync(join(tmpdir(), 'bkv-linear-'));
    mkdirSync(data, { recursive: true });
    const daemon = await Daemon.start(data, { config: `${CONFIG}httpWorkers: 2\n` });
    try {
      let killed = 0;
      const recorder = new Recorder(() => daemon, true);
      // When all lanes have ended, each request was answered or its connection was closed.
      await recorder.during(async () => {
        while (killed < 3) {
          await setTimeout(700);
          const { workers } = daemon.processes();
          if (workers.length < 2) continue;
          process.kill(workers[killed % 2] as number, 'SIGKILL');
          killed++;
        }
        await setTimeout(500);
      });
    } finally {
      await daemon.stop();
      discardData(data);
    }
  });

  it('of the same over two daemons on PostgreSQL, while the writer is killed', async () => {
    const data = mkdtempSync(join(tmpdir(), 'bkv-linear-'));
    const postgres = await Postgres.start();
    const config = `${CONFIG}database: ${postgres.url}\n`;
    const daemons = [await Daemon.start(data, { config }), await Daemon.start(data, { config })] as const;
    try {
      let on: Daemon = daemons[0];
      const recorder = new Recorder(() => on, false);
      // A fail-over resets the attempts of unknown accounts, so these accounts are registered first.
      for (let i = 0; i < 4; i++) {
        await on.register(`account ${i}`, 'right');
        recorder.histories.set(`account ${i}`, [
          { op: 'register', answer: 'ok', begun: 0, ended: performance.now() },
        ]);
      }
      await recorder.during(async () => {
        await setTimeout(800);
        await daemons[0].stop('SIGKILL');
        on = daemons[1];
        await on.until(true);
        await setTimeout(1000);
      });
    } finally {
      await Promise.all(daemons.map((daemon) => daemon.stop('SIGKILL')));
      await postgres.stop();
      rmSync(data, { recursive: true, force: true });
    }
  });
});
