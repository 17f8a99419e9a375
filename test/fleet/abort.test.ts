import assert from 'node:assert/strict';
import { isTidying } from '../../src/client/fleet/driver.js';
import { type Fleet, Operation } from '../../src/client/fleet/operation.js';
import type {
  Effect,
  Held,
  Kind,
  MemberId,
  Program,
  Replies,
  Reply,
  Round,
} from '../../src/client/fleet/program.js';
import { Quorums } from '../../src/client/fleet/quorums.js';
import { tryDealing } from '../../src/client/fleet/recovery.js';
import { emptyVault, ModelScheme, type ModelVault, RULES, serve } from './model-vaults.js';

const LIMIT = 10;
const DEALING = '00000001f1ee70000000000000000001';
const members = ['a', 'b', 'c', 'd'];
const fleet: Fleet = { members, quorums: new Quorums(4, 3, 1), tag: 'f1ee7000' };

/** A recovery at four vaults with T = 3. The last vault is slow, but is asked too. */
class Recovery {
  readonly vaults = new Map<MemberId, ModelVault>();
  readonly #late: (() => void)[] = [];
  effects = 0;

  ask(member: MemberId, kind: Kind, request: unknown): Reply<Kind> {
    return serve(this.vaults.get(member) as ModelVault, LIMIT, RULES, kind, request);
  }

  constructor() {
    for (const member of members) {
      this.vaults.set(member, emptyVault());
      this.ask(member, 'offer', { dealing: DEALING });
      this.ask(member, 'share', { registrationId: `offer ${DEALING}`, message: { password: 'right' } });
    }
  }

  /** @param abortAt effect before which the caller aborts @param lateAt effect before which the slow answer comes */
  run(abortAt: number, lateAt: number): void {
    const session = { caught: new Map(), slow: new Set<string>(), repaired: new Set<string>(), needed: 0 };
    const op = new Operation([fleet], new ModelScheme(), session, (member) => member);
    op.looks = new Map(
      members.map((member) => [member, (this.ask(member, 'look', null) as { answer: Held }).answer]),
    );
    const candidate = { fleet, dealing: DEALING, holders: members, proven: members };
    const program = tryDealing(op, new ModelScheme().login('right'), candidate);
    let isAborted = false;
    let step = program.next();
    while (!step.done) {
      if (++this.effects === lateAt) this.#arrive();
      if (this.effects >= abortAt && !isAborted && !isTidying(step.value)) {
        isAborted = true;
        try {
          step = program.throw(new Error('enough'));
        } catch {
          break;
        }
        continue;
      }
      const result = this.#perform(step.value);
      try {
        step = program.next(result as never);
      } catch {
        break;
      }
    }
    this.#arrive();
  }

  #arrive(): void {
    for (const arrive of this.#late.splice(0)) arrive();
  }

  #perform(effect: Effect): unknown {
    if (effect === 'stragglers') return this.#arrive();
    return 'work' in effect ? effect.work() : this.#round(effect.round);
  }

  #round({ kind, requests, late }: Round<Kind>): Replies<Kind> {
    const replies: Replies<Kind> = new Map();
    for (const [member, request] of requests) {
      const reply = this.ask(member, kind, request);
      if (kind !== 'start' || member !== 'd') replies.set(member, reply);
      else {
        replies.set(member, { ok: false, failure: 'late', reason: 'it is slow' });
        this.#late.push(() => late && this.#drive(late(member, reply)));
      }
    }
    return replies;
  }

  #drive(program: Program<void>): void {
    for (let step = program.next(); !step.done; ) step = program.next(this.#perform(step.value) as never);
  }
}

describe('a recovery that its caller aborts', () => {
  it('leaves no attempt open, whenever it is aborted and the slow answer comes', () => {
    const whole = new Recovery();
    whole.run(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
    assert.ok(whole.effects > 5);
    for (let abortAt = 1; abortAt <= whole.effects + 3; abortAt++)
      for (let lateAt = 1; lateAt <= whole.effects + 3; lateAt++) {
        const recovery = new Recovery();
        recovery.run(abortAt, lateAt);
        for (const [member, { open }] of recovery.vaults)
          assert.deepEqual(open, [], `${member}, aborted at ${abortAt}, a slow answer at ${lateAt}`);
      }
  });
});
