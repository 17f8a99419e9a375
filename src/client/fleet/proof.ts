import { isExchangeOver } from '../errors.js';
import { answered, type Operation } from './operation.js';
import { type MemberId, type Opaque, type Program, type Replies, type Reply, work } from './program.js';
import type { Combination, Login, Started } from './scheme.js';

/** Who accepted the proof of a password, and the backup key from the first genuine answer. */
export interface Proof {
  readonly proven: ReadonlySet<MemberId>;
  readonly backupKey: Uint8Array | undefined;
  /** members for which the proof came too late: their attempt stays spent */
  readonly expired: readonly MemberId[];
  /** Reads what slow members have answered since. @returns the backup key of the first genuine answer */
  readonly readSlow: () => Program<Uint8Array | undefined>;
}

/**
 * Sends the last message of a login to each member.
 * @param needed how many proofs to wait for; the rest may be slow @param told grows by those that it was sent
 * to
 */
export function* prove(
  op: Operation,
  login: Login,
  started: ReadonlyMap<MemberId, Started>,
  messages: ReadonlyMap<MemberId, Opaque>,
  needed: number,
  told: Set<MemberId>,
): Program<Proof> {
  const slow = new Map<MemberId, Reply<'finish'>>();
  const replies = yield* op.ask(
    'finish',
    [...messages.keys()],
    (member) => ({
      recoveryId: (started.get(member) as Started).recoveryId,
      message: messages.get(member),
    }),
    {
      fair: (so) => answered(so).length >= needed,
      // biome-ignore lint/correctness/useYield: it asks for nothing.
      late: function* (member, reply) {
        slow.set(member, reply);
      },
    },
  );
  for (const member of replies.keys()) told.add(member);
  const proven = new Set<MemberId>();
  const expired: MemberId[] = [];
  const read = function* (ended: Replies<'finish'>): Program<Uint8Array | undefined> {
    let backupKey: Uint8Array | undefined;
    for (const [member, reply] of ended) {
      if (!reply.ok && isExchangeOver(reply.error)) expired.push(member);
      if (!reply.ok) continue;
      const key = yield* work(() => login.key(messages.get(member), reply.answer.sealed));
      if (key === undefined) op.catch([member], 'it gave a key that this password did not seal');
      else {
        proven.add(member);
        backupKey ??= key;
      }
    }
    return backupKey;
  };
  const backupKey = yield* read(replies);
  return { proven, backupKey, expired, readSlow: () => read(slow) };
}

/** Tells members whose attempts are open that these are over, except for members that were told already. */
export function* abandon(
  op: Operation,
  started: ReadonlyMap<MemberId, Started>,
  told: ReadonlySet<MemberId>,
): Program<void> {
  const open = [...started.keys()].filter((member) => !told.has(member));
  yield* op.ask('abandon', open, (member) => ({
    recoveryId: (started.get(member) as Started).recoveryId,
  }));
}

/**
 * Opens one member's answer under a combination that is known to be right: an answer that does not open is a
 * lie.
 */
export function* openOne(
  op: Operation,
  login: Login,
  member: MemberId,
  one: Started,
  combination: Combination,
): Program<Opaque | undefined> {
  const message = yield* work(() => login.open(member, one, combination));
  if (message === undefined) op.catch([member], 'its answer does not fit the registration');
  return message;
}

/**
 * Proves the password at members one by one, when the combination is already known.
 * @param needed how many proofs are waited for; the rest may be slow
 * @param isWanted whether a slow member's proof is worth anything yet
 */
export function* proveAt(
  op: Operation,
  login: Login,
  dealing: string,
  combination: Combination,
  members: readonly MemberId[],
  needed = 1,
  isWanted: () => boolean = () => true,
): Program<Proof> {
  const sent = new Map<MemberId, Opaque>();
  let started: ReadonlyMap<MemberId, Started> = new Map();
  const told = new Set<MemberId>();
  let isCutOff = false;
  const startedBy = (member: MemberId, { recoveryId, message }: { recoveryId: string; message: Opaque }) => ({
    recoveryId,
    index: op.fleet.members.indexOf(member) + 1,
    sent: sent.get(member),
    received: message,
  });
  const late = function* (member: MemberId, reply: Reply<'start'>): Program<void> {
    if (!reply.ok) return;
    const one = startedBy(member, reply.answer);
    const { recoveryId } = one;
    if (isCutOff || !isWanted()) return yield* abandon(op, new Map([[member, one]]), told);
    const message = yield* openOne(op, login, member, one, combination);
    if (message !== undefined) yield* op.ask('finish', [member], () => ({ recoveryId, message }));
  };
  try {
    const replies = yield* op.ask(
      'start',
      members,
      (member) => {
        sent.set(member, login.message());
        return { dealing, message: sent.get(member) };
      },
      { late },
    );
    started = new Map(answered(replies).map(([member, answer]) => [member, startedBy(member, answer)]));
    const messages = new Map<MemberId, Opaque>();
    for (const [member, one] of started) {
      const message = yield* openOne(op, login, member, one, combination);
      if (message !== undefined) messages.set(member, message);
    }
    return yield* prove(op, login, started, messages, needed, told);
  } catch (error) {
    isCutOff = true;
    yield* abandon(op, started, told);
    throw error;
  }
}
