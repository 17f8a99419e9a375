import { answered, type Operation } from './operation.js';
import type { MemberId, Program } from './program.js';

/**
 * Ends every key of the account, here and at the predecessors.
 * @returns the vaults that must still be told @throws TooFewVaults when so few were told that the rest could open the
 * key
 */
export function* deletion(op: Operation): Program<MemberId[]> {
  const members = new Set(op.fleets.flatMap((fleet) => fleet.members));
  const replies = yield* op.ask('delete', members, () => null);
  const done = new Set(answered(replies).map(([member]) => member));
  const { members: mine, quorums } = op.fleet;
  const told = mine.filter((member) => done.has(member)).length;
  if (told <= quorums.size - quorums.threshold) throw op.tooFew(told, op.fleet);
  return op.fleets.flatMap((fleet) => {
    const credible = op.credible(fleet.members);
    const open = credible.filter((member) => !done.has(member));
    const needed = fleet.quorums.endsNeeded(op.caughtIn(fleet));
    return credible.length - open.length >= needed ? [] : open;
  });
}
