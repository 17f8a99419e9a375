import { isExchangeOver } from '../errors.js';
import { answered, type Operation } from './operation.js';
import type { MemberId, Opaque, Program, Reply } from './program.js';
import { work } from './program.js';
import type { Combination, Login, Started } from './scheme.js';

/** Who took the proof of a password, and the backup key that the first genuine answer held. */
export interface Proof {
  readonly proven: ReadonlySet<MemberId>;
  readonly backupKey: Uint8Array | undefined;
  /** members for which the proof came too late: their attempt stays spent */
  readonly expired: readonly MemberId[];
}

/** Sends the last message of a login to each member. */
export function* prove(
  op: Operation,
  login: Login,
  started: ReadonlyMap<MemberId, Started>,
  messages: ReadonlyMap<MemberId, Opaque>,
): Program<Proof> {
  const replies = yield* op.ask(
    'finish',
    [...messages.keys()],
    (member) => ({
      recoveryId: (started.get(member) as Started).recoveryId,
      message: messages.get(member),
    }),
    { fair: (so) => answered(so).length > 0 },
  );
  const proven = new Set<MemberId>();
  let backupKey: Uint8Array | undefined;
  for (const [member, { sealed }] of answered(replies)) {
    const key = yield* work(() => login.key(messages.get(member), sealed));
    if (key === undefined) op.catch([member], 'it gave a key that this password did not seal');
    else {
      proven.add(member);
      backupKey ??= key;
    }
  }
  const expired = [...replies].flatMap(([member, reply]) =>
    !reply.ok && isExchangeOver(reply.error) ? [member] : [],
  );
  return { proven, backupKey, expired };
}

/** Opens one member's answer under a combination that is known to be right: what does not open is a lie. */
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

/** Proves the password at members one by one, where the combination is known already. */
export function* proveAt(
  op: Operation,
  login: Login,
  dealing: string,
  combination: Combination,
  members: readonly MemberId[],
): Program<Proof> {
  const sent = new Map<MemberId, Opaque>();
  const startedBy = (member: MemberId, { recoveryId, message }: { recoveryId: string; message: Opaque }) => ({
    recoveryId,
    index: op.fleet.members.indexOf(member) + 1,
    sent: sent.get(member),
    received: message,
  });
  const late = function* (member: MemberId, reply: Reply<'start'>): Program<void> {
    if (!reply.ok) return;
    const { recoveryId } = reply.answer;
    const message = yield* openOne(op, login, member, startedBy(member, reply.answer), combination);
    if (message !== undefined) yield* op.ask('finish', [member], () => ({ recoveryId, message }));
  };
  const replies = yield* op.ask(
    'start',
    members,
    (member) => {
      sent.set(member, login.message());
      return { dealing, message: sent.get(member) };
    },
    { late },
  );
  const started = new Map(answered(replies).map(([member, answer]) => [member, startedBy(member, answer)]));
  const messages = new Map<MemberId, Opaque>();
  for (const [member, one] of started) {
    const message = yield* openOne(op, login, member, one, combination);
    if (message !== undefined) messages.set(member, message);
  }
  return yield* prove(op, login, started, messages);
}
