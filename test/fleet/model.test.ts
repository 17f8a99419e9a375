import assert from 'node:assert/strict';
import type { Kind } from '../../src/client/fleet/program.js';
import { Quorums } from '../../src/client/fleet/quorums.js';
import {
  after,
  emptyWorld,
  holders,
  type Model,
  opens,
  RULES,
  type Step,
  stateOf,
  type World,
} from './model.js';
import { emptyVault, type ModelVault, serve, type VaultRules } from './model-vaults.js';

const LONG = process.env.BKV_MODEL === 'long';
const names = 'abcdefg'.split('');
const modelOf = (quorums: Quorums, liars: number, more: Partial<Model> = {}): Model => {
  const members = names.slice(0, quorums.size);
  return {
    quorums,
    fleets: [{ members, quorums, tag: 'f1ee7000' }],
    liars: new Set(members.slice(0, liars)),
    rules: RULES,
    limit: 6,
    losses: 1,
    crashes: true,
    ...more,
  };
};

/** The steps that a user may take next. */
function steps(world: World): Step[] {
  const to = `p${world.names + 1}`;
  const known = [...new Set([world.complete, ...world.possible].flatMap((one) => one ?? []))];
  if (known.length === 0) return [{ what: 'register', to }];
  return known.flatMap((from): Step[] => [
    { what: 'recover', password: from },
    { what: 'change', from, to },
  ]);
}

/** @returns the first state that breaks an invariant, with the steps that led to it; or how much was explored */
function findFault(model: Model, depth: number) {
  let frontier = new Map([['', { world: emptyWorld(model), way: [] as string[] }]]);
  const seen = new Set<string>();
  let count = 0;
  for (let at = 0; at < depth; at++) {
    const next: typeof frontier = new Map();
    for (const { world, way } of frontier.values()) {
      for (const step of steps(world)) {
        for (const { world: reached, outcome } of after(model, world, step, at > 0).values()) {
          count++;
          const path = [
            ...way,
            `${stateOf(step)} ${outcome.end} ${outcome.end === 'done' ? `pending ${outcome.pending}` : outcome.end === 'failed' ? outcome.error.message : ''}`,
          ];
          if (reached.leaked)
            return { fault: 'a guess was tested beside the counters', path, world: stateOf(reached) };
          const isComplete = outcome.end === 'done' && outcome.pending.length === 0;
          if (isComplete) {
            for (let i = 0; i <= reached.names; i++) {
              if (`p${i}` === reached.complete) continue;
              const { any } = holders(model, reached, `p${i}`);
              if (any >= model.quorums.threshold)
                return { fault: `p${i} still opens`, path, world: stateOf(reached) };
            }
          }
          const name = stateOf(reached);
          if (seen.has(name)) continue;
          seen.add(name);
          if (reached.complete !== undefined) {
            const tried = reached.possible.map((password) => opens(model, reached, password));
            const fault = tried.find((one) => one.fault)?.fault;
            if (fault) return { fault, path, world: name };
            if (!tried.some(({ always }) => always))
              return { fault: 'the account is lost', path, world: name };
          }
          next.set(name, { world: reached, way: path });
        }
      }
    }
    frontier = next;
  }
  return { count, states: seen.size };
}

/** The most guesses at a password that the thief of an access token can get from one vault. */
function mostGuesses(rules: VaultRules, limit: number): number {
  const count = '00000001f1ee70000000000000000000';
  const [mine, again, theirs] = ['1', '2', '3'].map((digit) => count.slice(0, 31) + digit) as [
    string,
    string,
    string,
  ];
  const ask = (vault: ModelVault, kind: Kind, request: unknown) => serve(vault, limit, rules, kind, request);
  const share = (vault: ModelVault, dealing: string, password: string) => {
    ask(vault, 'offer', { dealing });
    ask(vault, 'share', { registrationId: `offer ${dealing}`, message: { password } });
  };
  const login = (vault: ModelVault, dealing: string, password: string) => {
    const reply = ask(vault, 'start', { dealing, message: { password } });
    if (!reply.ok) return;
    const { recoveryId } = reply.answer as { recoveryId: string };
    ask(vault, 'finish', { recoveryId, message: { proof: password } });
  };
  const moves: ((vault: ModelVault) => unknown)[] = [
    (vault) => login(vault, mine, 'a guess'),
    (vault) => login(vault, again, 'a guess'),
    (vault) => share(vault, theirs, 'theirs'),
    (vault) => login(vault, theirs, 'theirs'),
    (vault) => ask(vault, 'withdraw', { dealing: theirs }),
    // The owner registers the same password again, on a device that has the key. (After a lock this would be a new account.)
    (vault) =>
      vault.dealings.some((one) => one.dealing === mine && one.used < limit) && share(vault, again, 'mine'),
  ];
  const first = emptyVault();
  share(first, mine, 'mine');
  login(first, mine, 'mine');
  let most = 0;
  const seen = new Set<string>();
  const frontier = [first];
  for (let vault = frontier.pop(); vault; vault = frontier.pop())
    for (const move of moves) {
      const next = structuredClone(vault);
      move(next);
      const guesses = next.evaluations.mine ?? 0;
      most = Math.max(most, guesses);
      if (seen.has(stateOf(next)) || guesses > 3 * limit) continue;
      seen.add(stateOf(next));
      frontier.push(next);
    }
  return most;
}

describe('the model of small fleets', function () {
  this.timeout(0);
  for (const [size, threshold, liars, losses, depth] of LONG
    ? ([
        [2, 2, 0, 1, 3],
        [3, 2, 0, 1, 3],
        [3, 2, 0, 2, 2],
        [3, 2, 1, 1, 2],
        [4, 3, 1, 0, 2],
      ] as const)
    : ([
        [2, 2, 0, 1, 2],
        [3, 2, 1, 1, 2],
      ] as const))
    it(`${threshold} of ${size}, ${liars} lying, ${losses} messages lost, ${depth} operations: every invariant holds`, () => {
      const found = findFault(modelOf(new Quorums(size, threshold, liars), liars, { losses }), depth);
      assert.ok(!('fault' in found), JSON.stringify(found, null, 2));
      console.log(`      ${found.states} states, ${found.count} ends of operations`);
    });

  const broken: Record<string, [Quorums, Partial<Model>, RegExp]> = {
    "a commit after T proofs, of which one is a liar's": [
      new (class extends Quorums {
        override proofsNeeded = () => this.threshold;
      })(3, 2, 1),
      {},
      /lost/,
    ],
    "an old dealing called dead after N - T + 1 commits, of which one is a liar's": [
      new (class extends Quorums {
        override endsNeeded = () => this.size - this.threshold + 1;
      })(3, 2, 1),
      {},
      /still opens/,
    ],
    'a vault that ends the old dealing when the new one is proven': [
      new Quorums(3, 2, 1),
      { rules: { ...RULES, retiresAtProof: true } },
      /lost/,
    ],
    'a proof that leaves when one member has opened': [
      new (class extends Quorums {
        override opensNeeded = () => 1;
      })(3, 2, 1),
      {},
      /beside the counters/,
    ],
    'a fleet file that allows for fewer liars than there are': [new Quorums(3, 2, 0), {}, /lost|still opens/],
  };
  for (const [rule, [quorums, more, fault]] of Object.entries(broken))
    it(`finds the fault of ${rule}`, () => {
      const found = findFault(modelOf(quorums, 1, more), 2);
      assert.match('fault' in found ? found.fault : 'nothing', fault);
    });

  it('a vault evaluates no more guesses than its limit, whatever the thief of an access token deals and proves', () => {
    assert.equal(mostGuesses(RULES, 3), 3);
    assert.ok(mostGuesses({ ...RULES, others: 'all reset' }, 3) > 3, 'a proof that resets all dealings');
    assert.ok(
      mostGuesses({ ...RULES, inherits: false }, 3) > 3,
      'a dealing that begins with no attempt spent',
    );
  });
});
