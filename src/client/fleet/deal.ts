import { nameOfDealing, nextCount } from './dealings.js';
import { endOthers } from './ending.js';
import { answered, type Operation } from './operation.js';
import { type MemberId, type Opaque, type Program, work } from './program.js';
import { proveAt } from './proof.js';
import type { Deal, Login } from './scheme.js';

/** What became of a dealing. */
export interface Dealt {
  readonly dealing: string;
  /** members whose share of it opened */
  readonly proven: ReadonlySet<MemberId>;
  /** members that lack a proof, or where something older may still open; none when all is done */
  readonly pending: readonly MemberId[];
}

/**
 * Deals a fresh key to the fleet under the login's password. The dealing is kept beside the older ones until
 * the password was proven against it at T honest members. If too few accept it, it is withdrawn and what was
 * there stays.
 * @throws TooFewVaults
 */
export function* deal(op: Operation, login: Login, backupKey: Uint8Array): Program<Dealt> {
  const { fleet, scheme } = op;
  const { threshold, size } = fleet.quorums;
  const dealing = nameOfDealing(nextCount(op), fleet, scheme.random());
  const made = yield* work(() => scheme.deal(login, threshold, size, backupKey));
  const holders = new Set<MemberId>();
  op.facts.deal = { dealing, holders };
  let isKept = false;
  let isGivenUp = false;
  try {
    yield* share(op, made, dealing, holders, () => isGivenUp);
    if (holders.size < threshold)
      throw op.tooFew(
        holders.size,
        fleet,
        `${holders.size} of the vaults took a share, and ${threshold} must`,
      );
    const { proven } = yield* proveAt(
      op,
      login,
      dealing,
      made.combination,
      [...holders],
      threshold,
      () => !isGivenUp,
    );
    op.facts.proven = proven;
    if (proven.size < threshold)
      throw op.tooFew(
        proven.size,
        fleet,
        `${proven.size} of the shares were proven, and ${threshold} must be`,
      );
    isKept = true;
    return { dealing, proven, pending: yield* endOthers(op, dealing, proven) };
  } finally {
    made.wipe();
    isGivenUp = !isKept;
    if (!isKept) yield* op.ask('withdraw', holders, () => ({ dealing }));
  }
}

/**
 * Sends each member its share. Once T have taken theirs, the others are waited for only a little longer. One
 * that takes its share later keeps it, and a recovery proves it.
 * @param holders grows by those that took it
 */
function* share(
  op: Operation,
  made: Deal,
  dealing: string,
  holders: Set<MemberId>,
  isGivenUp: () => boolean,
): Program<void> {
  const { members, quorums } = op.fleet;
  const indexOf = (member: MemberId) => members.indexOf(member) + 1;
  const offers = yield* op.ask('offer', members, (member) => ({
    dealing,
    index: indexOf(member),
    message: made.offer(member),
  }));
  const shares = new Map<MemberId, { registrationId: string; message: Opaque }>();
  for (const [member, { registrationId, message: answer }] of answered(offers)) {
    const message = yield* work(() =>
      made.share(member, { dealing, index: indexOf(member), registrationId }, answer),
    );
    if (message === undefined) op.catch([member], 'it answered the registration for another');
    else shares.set(member, { registrationId, message });
  }
  op.facts.shares = [...shares.keys()];
  const taken = yield* op.ask(
    'share',
    shares.keys(),
    (member) => shares.get(member) as { registrationId: string; message: Opaque },
    {
      fair: (so) => answered(so).length >= quorums.threshold,
      late: function* (member, reply) {
        if (!reply.ok) return;
        holders.add(member);
        if (isGivenUp()) yield* op.ask('withdraw', [member], () => ({ dealing }));
      },
    },
  );
  for (const [member] of answered(taken)) holders.add(member);
}
