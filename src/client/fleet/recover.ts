import { Locked } from '../errors.js';
import { deal } from './deal.js';
import { candidates, claim, claimed, isBefore, isEstablished, isOf } from './dealings.js';
import { endOthers } from './ending.js';
import { MovedAway, NotRegistered, TooFewVaults, Undecided, WrongFleetPassword } from './errors.js';
import { answered, type Fleet, type Operation } from './operation.js';
import type { Held, MemberId, Program, Replies, Reply } from './program.js';
import { proveAt } from './proof.js';
import { isOpen, type Opening, tryDealing, type Unopened } from './recovery.js';
import type { Login } from './scheme.js';

export interface Recovered {
  readonly backupKey: Uint8Array;
  /** attempts that had failed since the last proof: an honest member counted this many or more */
  readonly failedAttempts: number;
  /** members that hold a share of the key that was dealt again, because one lacked its share or the fleet is new */
  readonly repaired?: number;
  /** members where something older may still open */
  readonly pending: readonly MemberId[];
}

/** Asks every member what it holds for the account. */
export function* look(op: Operation): Program<void> {
  const members = new Set(op.fleets.flatMap((fleet) => fleet.members));
  const heldBy = (replies: Replies<'look'>) => new Map<MemberId, Held>(answered(replies));
  const late = function* (member: MemberId, reply: Reply<'look'>): Program<void> {
    if (reply.ok) yield* op.hear(member, reply.answer);
  };
  const replies = yield* op.ask('look', members, () => null, {
    fair: (so) => candidates(op, heldBy(so)).length > 0,
    late,
  });
  op.looks = heldBy(replies);
}

/**
 * Gets the backup key back, and mends what it finds: a change that was not finished, a member without its share, an
 * account at a predecessor.
 * @throws WrongFleetPassword, Undecided, Locked, NotRegistered, MovedAway, TooFewVaults
 */
export function* recover(op: Operation, login: Login): Program<Recovered> {
  yield* look(op);
  const tried: Unopened[] = [];
  op.facts.tried = tried;
  // During each try, slow members may have said what they hold.
  for (;;) {
    const candidate = candidates(op).find(
      ({ dealing }) => !tried.some((one) => one.candidate.dealing === dealing),
    );
    if (!candidate) break;
    const result = yield* tryDealing(op, login, candidate);
    if (isOpen(result)) {
      yield* op.listen((member, held) => giveBack(op, login, result, member, held));
      const mended = yield* mend(op, login, result);
      // The login's own copies are zeroed with it.
      return { ...mended, backupKey: result.backupKey.slice(), failedAttempts: op.failedAttempts() };
    }
    tried.push(result);
  }
  throw tried.length === 0 ? whyNone(op) : whyNotOpened(op, tried);
}

/** Gives back the attempts of members that were slow to say what they hold, too. */
function* giveBack(
  op: Operation,
  login: Login,
  { candidate, combination }: Opening,
  member: MemberId,
  held: Held,
): Program<void> {
  const { dealing } = candidate;
  if (claim(held, dealing)?.full === false) yield* proveAt(op, login, dealing, combination, [member]);
}

/**
 * Ends older dealings, and deals again if a member lacks its share. A recovery that cannot mend everything
 * says where.
 */
function* mend(op: Operation, login: Login, { candidate, combination, proven, backupKey }: Opening) {
  const { fleet, session } = op;
  const { dealing } = candidate;
  const isMoved = candidate.fleet !== fleet;
  const lacking = op
    .willing(fleet.members)
    .filter((member) => op.looks.has(member) && !claim(op.looks.get(member), dealing));
  op.facts.opened = { dealing, proven: [...proven] };
  const needed = fleet.quorums.proofsNeeded(op.caughtIn(fleet));
  const reachable = op.willing(fleet.members).filter((member) => op.looks.has(member)).length;
  const isWorth = lacking.some((member) => !session.repaired.has(member)) && reachable >= needed;
  if ((isMoved || isWorth) && !isElsewhere(op, dealing)) {
    for (const member of lacking) session.repaired.add(member);
    const dealt = yield* dealAgain(op, login, backupKey);
    if (dealt) return { repaired: dealt.proven.size, pending: dealt.pending };
  }
  if (isMoved) return { pending: op.credible(candidate.fleet.members) };

  const held = (member: MemberId) => claim(op.looks.get(member), dealing);
  const all = new Set([...proven, ...fleet.members.filter((member) => held(member)?.proven)]);
  if (op.credible(all).length < needed) {
    const rest = op.willing(fleet.members).filter((member) => held(member) && !all.has(member));
    const missing = needed - op.credible(all).length;
    const more = yield* proveAt(op, login, dealing, combination, rest, missing);
    for (const member of more.proven) all.add(member);
  }
  op.facts.all = all;
  return { pending: yield* endOthers(op, dealing, all) };
}

/** A repair or a move that fails leaves everything as it was; the next recovery tries again. */
function* dealAgain(op: Operation, login: Login, backupKey: Uint8Array) {
  try {
    return yield* deal(op, login, backupKey);
  } catch (error) {
    if (error instanceof TooFewVaults || [...op.unable.values()].includes(error as Error)) return undefined;
    throw error;
  }
}

/**
 * Whether more members of a fleet than may lie hold a newer, proven dealing of a fleet that is not known
 * here.
 */
export function isElsewhere(op: Operation, than = ''): boolean {
  const claims = (member: MemberId) =>
    op.looks
      .get(member)
      ?.dealings.some(
        ({ dealing, proven }) => proven && dealing > than && !op.fleets.some((fleet) => isOf(fleet, dealing)),
      );
  return op.fleets.some(
    (fleet) => op.credible(fleet.members).filter(claims).length > fleet.quorums.hidden(op.caughtIn(fleet)),
  );
}

/** Why there was nothing to try. */
export function whyNone(op: Operation): Error {
  const { fleet } = op;
  const caught = op.caughtIn(fleet);
  const looks = op.credible(fleet.members).flatMap((member) => op.looks.get(member) ?? []);
  const locked = looks.filter((held) => held.locked).length;
  if (locked >= fleet.quorums.endsNeeded(caught)) return new Locked();
  if (isElsewhere(op)) return new MovedAway();
  const most = Math.max(
    0,
    ...op.fleets.flatMap((one) => claimed(op, one).map(({ holders }) => holders.length)),
  );
  if (most > 0 && isRest(op, (one) => one.quorums.hidden(op.caughtIn(one)))) return new NotRegistered();
  if (most > 0)
    return op.tooFew(
      most,
      fleet,
      `${most} of the vaults that answer hold a share of the account, and ${fleet.quorums.threshold} are needed`,
    );
  const few = op.fleets.find((one) => !answersFor(op, one));
  if (few) return op.tooFew(looks.length, few);
  if (locked > 0)
    return op.tooFew(looks.length - locked, fleet, `${locked} of the vaults say that the account is locked`);
  return new NotRegistered();
}

/**
 * Whether what the fleets' members hold cannot be opened by anything, because it is left over from a
 * registration that was cut off.
 * @param hiding how many members of a fleet may hide what they hold
 */
export function isRest(op: Operation, hiding: (fleet: Fleet) => number = () => 0): boolean {
  return op.fleets.every((fleet) => {
    const { members, quorums } = fleet;
    const known = op.credible(members).filter((member) => op.looks.get(member)?.locked === false);
    const unknown = members.length - known.length + hiding(fleet);
    return (
      answersFor(op, fleet) &&
      claimed(op, fleet).every(({ holders }) => holders.length + unknown < quorums.threshold)
    );
  });
}

const answersFor = (op: Operation, { members, quorums }: Fleet): boolean =>
  op.credible(members).filter((member) => op.looks.has(member)).length >= quorums.threshold;

/** Why nothing that was tried has opened. */
function whyNotOpened(op: Operation, tried: readonly Unopened[]): Error {
  const { fleet } = (tried[0] as Unopened).candidate;
  const { quorums } = fleet;
  const most = tried.reduce((best, one) => (one.answered > best.answered ? one : best));
  const liars = fleet.members.filter((member) => op.session.caught.has(member)).map(op.nameOf);
  const suspects = op.credible(most.suspects).map(op.nameOf);
  if (most.answered < quorums.threshold) return op.tooFew(most.answered, most.candidate.fleet);
  const { attemptsRemaining } = most;
  // A dealing that was not tried might still open, if members that are silent now, or that hide it, also hold
  // it.
  const names = new Set(tried.map(({ candidate }) => candidate.dealing));
  const settled = tried.find(({ candidate }) => isEstablished(op, candidate))?.candidate;
  const isOut = op.fleets.some((one) => {
    const unknown =
      one.members.length - op.credible(one.members).filter((member) => op.looks.has(member)).length;
    return claimed(op, one).some(
      ({ dealing, holders }) =>
        !names.has(dealing) &&
        (!settled ||
          (one === settled.fleet ? dealing > settled.dealing : !isBefore(dealing, settled.dealing))) &&
        holders.length + unknown >= one.quorums.threshold,
    );
  });
  if (tried.every(({ certain }) => certain) && !isOut)
    return new WrongFleetPassword(attemptsRemaining, liars, suspects);
  return new Undecided(most.answered, quorums.threshold, op.failures(fleet), attemptsRemaining, suspects);
}
