import { claim, isBefore, isOf } from './dealings.js';
import { answered, type Fleet, type Operation } from './operation.js';
import type { Held, MemberId, Program } from './program.js';

const others = (held: Held | undefined, dealing: string) =>
  held?.dealings.filter((one) => one.dealing !== dealing) ?? [];

/** Whether the member may be told to keep only this dealing: nothing newer was proven there. */
const mayCommit = (held: Held | undefined, dealing: string): boolean =>
  !others(held, dealing).some((one) => one.proven && one.dealing > dealing);

/**
 * Once the password was proven against `dealing` at T honest members, ends what else the account has: the
 * fleet's other dealings, at members where this one was proven, and the account at predecessors. Before that
 * it only withdraws newer dealings that were proven nowhere, which are left over from a registration that was
 * cut off.
 * @param proven members where the dealing was proven
 * @returns members that lack a proof which is needed, or where something else of the account may still open;
 * none when the dealing is safe and everything else is dead
 */
export function* endOthers(
  op: Operation,
  dealing: string,
  proven: ReadonlySet<MemberId>,
): Program<MemberId[]> {
  const { fleet } = op;
  const ended = new Set(
    [...op.looks].flatMap(([member, held]) => (others(held, dealing).length === 0 ? [member] : [])),
  );
  op.facts.ended = ended;
  const isSafe = op.credible(proven).length >= fleet.quorums.proofsNeeded(op.caughtIn(fleet));
  const known = new Set([...op.looks.keys(), ...proven]);
  const rest = [...known].flatMap((member) =>
    ended.has(member) ? [] : [[member, op.looks.get(member)] as const],
  );
  const inFleet = rest.filter(([member]) => fleet.members.includes(member));

  if (isSafe) {
    const commits = inFleet.filter(([member, held]) => proven.has(member) && mayCommit(held, dealing));
    const kept = yield* op.ask(
      'commit',
      commits.map(([member]) => member),
      () => ({ dealing }),
    );
    for (const [member] of answered(kept)) ended.add(member);
    const left = rest.filter(([member, held]) => isLeftBehind(op, member, held, dealing));
    const deleted = yield* op.ask(
      'delete',
      left.map(([member]) => member),
      () => null,
    );
    for (const [member] of answered(deleted)) ended.add(member);
  } else {
    // Only where the member holds nothing besides the two.
    const cutOff = inFleet.filter(
      ([, held]) =>
        claim(held, dealing) &&
        others(held, dealing).every((one) => !one.proven && one.dealing > dealing) &&
        others(held, dealing).length === 1,
    );
    const over = new Map(cutOff.map(([member, held]) => [member, others(held, dealing)[0]?.dealing ?? '']));
    const withdrawn = yield* op.ask('withdraw', over.keys(), (member) => ({
      dealing: over.get(member) as string,
    }));
    for (const [member] of answered(withdrawn)) ended.add(member);
  }
  const unproven = isSafe ? [] : op.credible(fleet.members).filter((member) => !proven.has(member));
  return [...new Set([...unproven, ...op.fleets.flatMap((one) => stillOpen(op, one, ended))])];
}

/**
 * Whether the member belongs to a predecessor only, and holds nothing but what was dealt to that predecessor
 * before the move.
 */
function isLeftBehind(op: Operation, member: MemberId, held: Held | undefined, moved: string): boolean {
  const [fleet, ...predecessors] = op.fleets;
  if (fleet.members.includes(member)) return false;
  const of = predecessors.filter(({ members }) => members.includes(member));
  return (held?.dealings ?? []).every(
    ({ dealing, proven }) => of.some((one) => isOf(one, dealing)) && (!proven || isBefore(dealing, moved)),
  );
}

/** Members of a fleet that may still hold something; none when fewer than its threshold could serve it. */
function stillOpen(op: Operation, { members, quorums }: Fleet, ended: ReadonlySet<MemberId>): MemberId[] {
  const credible = op.credible(members);
  const open = credible.filter((member) => !ended.has(member));
  const caught = members.length - credible.length;
  return credible.length - open.length >= quorums.endsNeeded(caught) ? [] : open;
}
