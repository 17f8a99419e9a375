import { deal } from '../../src/client/fleet/deal.js';
import { type Fleet, Operation } from '../../src/client/fleet/operation.js';
import type {
  Effect,
  Kind,
  MemberId,
  Program,
  Replies,
  Reply,
  Round,
} from '../../src/client/fleet/program.js';
import type { Quorums } from '../../src/client/fleet/quorums.js';
import { look, recover } from '../../src/client/fleet/recover.js';
import { Choices } from './explorer.js';
import {
  emptyVault,
  GUESSED,
  ModelScheme,
  type ModelVault,
  RULES,
  serve,
  type VaultRules,
} from './model-vaults.js';

export interface Model {
  readonly quorums: Quorums;
  readonly fleets: readonly [Fleet, ...Fleet[]];
  readonly liars: ReadonlySet<MemberId>;
  readonly rules: VaultRules;
  readonly limit: number;
  /** the most messages of honest members that the network loses in one operation */
  readonly losses: number;
  /** whether the client may be killed during an operation */
  readonly crashes: boolean;
}

/** The fleet's state and what its users were told, as plain data. */
export interface World {
  vaults: Record<MemberId, ModelVault>;
  /** every dealing that a liar ever held, because it may serve it for ever */
  memory: Record<MemberId, Record<string, string>>;
  /** the password that was last acknowledged without anything pending */
  complete: string | undefined;
  /** passwords that may open, because the user was not told that they have ended */
  possible: string[];
  /** number of passwords used so far */
  names: number;
  /** whether a liar learnt that a guess is right, without an attempt being counted */
  leaked: boolean;
}

export const emptyWorld = ({ fleets }: Model): World => {
  const members = [...new Set(fleets.flatMap((fleet) => fleet.members))];
  return {
    vaults: Object.fromEntries(members.map((member) => [member, emptyVault()])),
    memory: Object.fromEntries(members.map((member) => [member, {}])),
    complete: undefined,
    possible: [],
    names: 0,
    leaked: false,
  };
};

export type Outcome =
  | { end: 'done'; pending: readonly MemberId[]; dealings: readonly string[] }
  | { end: 'failed'; error: Error }
  | { end: 'killed' };

const isTaken = ({ vaults, memory }: World, digits: string): boolean =>
  [
    ...Object.values(vaults).flatMap(({ dealings }) => dealings.map(({ dealing }) => dealing)),
    ...Object.values(memory).flatMap((served) => Object.keys(served)),
  ].some((dealing) => dealing.endsWith(digits));

const plain = (_: string, value: unknown): unknown =>
  value instanceof Map || value instanceof Set
    ? [...value]
    : value instanceof Uint8Array || typeof value === 'function'
      ? undefined
      : value;
export const stateOf = (value: unknown): string => JSON.stringify(value, plain);

/** One operation of the user. */
export type Step =
  | { what: 'register'; to: string }
  | { what: 'recover'; password: string }
  | { what: 'change'; from: string; to: string };

const start = (op: Operation, step: Step): Program<{ pending: readonly MemberId[] }> => {
  if (step.what === 'recover') return recover(op, new ModelScheme().login(step.password));
  if (step.what === 'register') return register(op, step.to);
  return (function* (): Program<{ pending: readonly MemberId[] }> {
    yield* recover(op, new ModelScheme().login(step.from));
    op.facts.recovered = true;
    return yield* register(op, step.to);
  })();
};

function* register(op: Operation, password: string) {
  yield* look(op);
  return yield* deal(op, new ModelScheme().login(password), new Uint8Array(32));
}

/** Runs one operation of the client's own code against the vaults. `choices` decide what happens. */
export function run(
  model: Model,
  world: World,
  step: Step,
  choices: Choices,
  { losses = model.losses, crashes = model.crashes } = {},
): Outcome | undefined {
  const session = { caught: new Map(), slow: new Set<string>(), repaired: new Set<string>(), needed: 0 };
  const op = new Operation(
    model.fleets,
    new ModelScheme((digits) => isTaken(world, digits)),
    session,
    (member) => member,
  );
  const program = start(op, step);
  let left = losses;
  let resume: unknown;
  try {
    for (;;) {
      const { done, value } = program.next(resume);
      if (done) {
        const { opened, deal: dealt } = op.facts as Record<string, { dealing: string } | undefined>;
        const dealings = [opened, dealt].flatMap((one) => one?.dealing ?? []);
        return { end: 'done', pending: value.pending, dealings };
      }
      const effect = value as Effect;
      if (effect === 'stragglers') resume = undefined;
      else if ('work' in effect) resume = effect.work();
      else {
        const { round } = effect;
        const asked = [round.kind, [...round.requests]];
        if (
          choices.isKnown(() =>
            stateOf([step, left, asked, op.facts, op.looks, op.spent, op.silent, session, world]),
          )
        )
          return undefined;
        if (crashes && choices.pick(2) === 1) {
          for (const [member, request] of round.requests)
            if (choices.pick(2) === 1) answer(model, world, member, round.kind, request, choices);
          return { end: 'killed' };
        }
        resume = ask(round);
      }
    }
  } catch (error) {
    if (!(error as { code?: string }).code) throw error;
    return { end: 'failed', error: error as Error };
  } finally {
    for (const vault of Object.values(world.vaults)) Object.assign(vault, { open: [], offers: [] });
  }

  function ask({ kind, requests, atOnce = requests.size, enough }: Round<Kind>): Replies<Kind> {
    const replies: Replies<Kind> = new Map();
    let wanted = atOnce;
    for (const [member, request] of requests) {
      if (wanted-- <= 0 || (replies.size >= atOnce && enough?.(replies))) break;
      const fate = model.liars.has(member) || left === 0 ? 0 : choices.pick(3);
      if (fate > 0) left--;
      const reply = fate === 1 ? undefined : answer(model, world, member, kind, request, choices);
      const arrived: Reply<Kind> =
        reply && fate === 0 ? reply : { ok: false, failure: 'silent', reason: 'no answer' };
      replies.set(member, arrived);
      if (!arrived.ok) wanted++;
    }
    return replies;
  }
}

const SILENT: Reply<Kind> = { ok: false, failure: 'silent', reason: 'no answer' };
const LYING: Reply<Kind> = { ok: false, failure: 'lying', reason: 'nonsense' };

/** A member's answer to a request. A liar may answer anything. */
function answer(
  { liars, limit, rules }: Model,
  world: World,
  member: MemberId,
  kind: Kind,
  request: unknown,
  choices: Choices,
): Reply<Kind> {
  const vault = world.vaults[member] as ModelVault;
  if (!liars.has(member)) return serve(vault, limit, rules, kind, request);
  if (kind === 'finish' && (request as { message: { proof: string } }).message.proof === GUESSED)
    world.leaked = true;
  const lies = liesOf(world.memory[member] as Record<string, string>, kind, request);
  return lies[choices.pick(lies.length)] as Reply<Kind>;
}

/** All answers that a liar may give. It forgets nothing, and may serve every share that it ever got. */
function liesOf(memory: Record<string, string>, kind: Kind, request: unknown): Reply<Kind>[] {
  const lies: Reply<Kind>[] = [SILENT];
  const say = (answer: unknown) => lies.push({ ok: true, answer: answer as never });
  if (kind === 'look') {
    const all = Object.keys(memory).sort();
    const some = [[], all, all.slice(-1), all.slice(0, 1)].filter(
      (one, i, every) => every.findIndex((other) => `${other}` === `${one}`) === i,
    );
    for (const names of some)
      say({
        locked: false,
        dealings: names.map((dealing) => ({ dealing, proven: true, attemptsRemaining: 9, full: true })),
      });
  } else if (kind === 'start') {
    const { dealing } = request as { dealing: string };
    const serves = (good: boolean) =>
      say({
        recoveryId: dealing,
        attemptsRemaining: 9,
        message: { dealing, opens: memory[dealing] ?? '', good },
      });
    if (memory[dealing] !== undefined) serves(true);
    serves(false);
    // The liar sees the others' evaluations, and makes its own such that they combine to a chosen element. With that, its own
    // envelope opens if its guess is right.
    say({
      recoveryId: dealing,
      attemptsRemaining: 9,
      message: { dealing, opens: 'p1', good: false, guess: true },
    });
    lies.push(LYING);
  } else if (kind === 'finish') {
    const { recoveryId } = request as { recoveryId: string };
    say({ sealed: memory[recoveryId] ?? '', failedAttempts: 0 });
    say({ sealed: 'nothing', failedAttempts: 0 });
  } else if (kind === 'offer') {
    const { dealing } = request as { dealing: string };
    say({ registrationId: dealing, message: { genuine: true } });
    say({ registrationId: dealing, message: { genuine: false } });
  } else if (kind === 'share') {
    const { registrationId, message } = request as { registrationId: string; message: { password: string } };
    memory[registrationId] = message.password;
    say(null);
  } else if (kind !== 'abandon') say(null);
  return lies;
}

/** Numbers of vaults that hold the most widely held dealing of a password: honest ones, and all that may serve it. */
export function holders(model: Model, world: World, password: string): { honest: number; any: number } {
  let best = { honest: 0, any: 0 };
  for (const fleet of model.fleets) {
    const names = new Set(
      fleet.members.flatMap((member) => [
        ...(world.vaults[member] as ModelVault).dealings.map((one) => one.dealing),
        ...Object.keys(world.memory[member] as object),
      ]),
    );
    for (const name of names) {
      const honest = fleet.members.filter(
        (member) =>
          !model.liars.has(member) &&
          (world.vaults[member] as ModelVault).dealings.some(
            (one) => one.dealing === name && one.password === password && one.used < model.limit,
          ),
      ).length;
      const liars = fleet.members.filter((member) => world.memory[member]?.[name] === password).length;
      if (honest + liars > best.any) best = { honest, any: honest + liars };
    }
  }
  return best;
}

/** Every world that a step may lead to. */
export function after(
  model: Model,
  world: World,
  step: Step,
  faults = true,
): Map<string, { world: World; outcome: Outcome }> {
  const found = new Map<string, { world: World; outcome: Outcome }>();
  const choices = new Choices();
  choices.explore(() => {
    const next = structuredClone(world);
    const outcome = run(model, next, step, choices, faults ? {} : { losses: 0, crashes: false });
    if (!outcome) return;
    tell(next, step, outcome);
    const name = stateOf([next, outcome.end, outcome.end === 'done' && outcome.pending]);
    if (!found.has(name)) found.set(name, { world: next, outcome });
  });
  return found;
}

/** Updates what the user knows. */
function tell(world: World, step: Step, outcome: Outcome): void {
  const made = step.what === 'recover' ? step.password : step.to;
  if (step.what !== 'recover') world.names++;
  if (outcome.end === 'done' && outcome.pending.length === 0) {
    world.complete = made;
    world.possible = [made];
  } else if (outcome.end !== 'failed' || step.what !== 'recover') {
    world.possible = [...new Set([...world.possible, made])];
  }
}

/** Whether the password opens, whatever the liars do, if every honest vault is up and no message is lost. */
export function opens(model: Model, world: World, password: string): { always: boolean; fault?: string } {
  let always = true;
  let fault: string | undefined;
  const choices = new Choices();
  choices.explore(() => {
    const next = structuredClone(world);
    const outcome = run(model, next, { what: 'recover', password }, choices, { losses: 0, crashes: false });
    if (!outcome) return;
    if (next.leaked) fault = 'a guess was tested beside the counters';
    if (outcome.end !== 'done') {
      always = false;
      return;
    }
    for (const [member, vault] of Object.entries(next.vaults)) {
      const used = vault.dealings
        .filter((one) => outcome.dealings.includes(one.dealing))
        .map((one) => one.used);
      if (!model.liars.has(member) && used.length > 0 && !used.includes(0))
        fault = `${member} keeps ${used} attempts spent: ${stateOf(next)}`;
    }
  });
  return { always, ...(fault && { fault }) };
}
export { RULES };
