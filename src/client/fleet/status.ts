import type { AccountStatus } from '../client.js';
import { Locked } from '../errors.js';
import { candidates, claim, withShares } from './dealings.js';
import { NotRegistered } from './errors.js';
import type { Operation } from './operation.js';
import { isRest, whyNone } from './recover.js';

/** What the fleet as a whole says of the account, once its vaults were looked at. @throws TooFewVaults, MovedAway */
export function statusOf(op: Operation): AccountStatus {
  const [first] = candidates(op);
  if (first) {
    const { dealing, holders, fleet } = first;
    const left = holders.map((member) => claim(op.looks.get(member), dealing)?.attemptsRemaining ?? 0);
    const attemptsRemaining = left.sort((a, b) => b - a)[fleet.quorums.threshold - 1] ?? 0;
    return { state: 'registered', attemptsRemaining, dealings: [dealing] };
  }
  const why = whyNone(op);
  if (why instanceof Locked) return { state: 'locked', attemptsRemaining: 0 };
  const isUnknown = why instanceof NotRegistered || (withShares(op).length > 0 && isRest(op));
  if (isUnknown) return { state: 'unregistered' };
  throw why;
}
