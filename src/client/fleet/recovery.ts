import { ExchangeExpired } from '../errors.js';
import { type Candidate, claim } from './dealings.js';
import { answered, type Operation } from './operation.js';
import { type MemberId, type Opaque, type Program, type Reply, stragglers, work } from './program.js';
import { abandon, openOne, prove, proveAt } from './proof.js';
import type { Combination, Login, Started } from './scheme.js';

/** A dealing that the password opened. */
export interface Opening {
  readonly candidate: Candidate;
  readonly combination: Combination;
  /** members that accepted the proof of the password */
  readonly proven: ReadonlySet<MemberId>;
  readonly backupKey: Uint8Array;
}

/** A dealing that did not open. */
export interface Unopened {
  readonly candidate: Candidate;
  /** members that evaluated the password and were not caught lying */
  readonly answered: number;
  /** whether enough answered to know that the password is wrong, whoever lies */
  readonly certain: boolean;
  /** guesses that are left now that this attempt has failed */
  readonly attemptsRemaining: number;
  /** members whose evaluation does not fit the others' */
  readonly suspects: readonly MemberId[];
}

export const isOpen = (tried: Opening | Unopened): tried is Opening => 'backupKey' in tried;

/**
 * Tries the password on one dealing: at T of its holders, and at all of them if the T do not agree. An honest
 * member whose attempt was spent always learns how it ended: it gets the proof, or is told that the attempt
 * is over.
 */
export function* tryDealing(op: Operation, login: Login, candidate: Candidate): Program<Opening | Unopened> {
  const attempt = new Attempt(op, login, candidate);
  try {
    return yield* attempt.run();
  } finally {
    yield* attempt.close();
  }
}

interface Opened {
  readonly combination: Combination;
  /** the members that were tried, and what is to be sent to those that opened */
  readonly tried: ReadonlyMap<MemberId, Started>;
  readonly messages: Map<MemberId, Opaque>;
}

class Attempt {
  readonly #op: Operation;
  readonly #login: Login;
  readonly #candidate: Candidate;
  readonly #asked = new Set<MemberId>();
  readonly #started = new Map<MemberId, Started>();
  readonly #remaining = new Map<MemberId, number>();
  /** members that have been told how their attempt ended, or are being told */
  readonly #told = new Set<MemberId>();
  #ended: Combination | 'failed' | undefined;

  constructor(op: Operation, login: Login, candidate: Candidate) {
    this.#op = op;
    this.#login = login;
    this.#candidate = candidate;
    op.facts.attempt = { dealing: candidate.dealing, asked: this.#asked, started: this.#started };
  }

  *run(): Program<Opening | Unopened> {
    const { threshold } = this.#candidate.fleet.quorums;
    const order = this.#order();
    const isSpent = (member: MemberId) =>
      this.#op.spent.has(member) ||
      claim(this.#op.looks.get(member), this.#candidate.dealing)?.full === false;
    const [first, others] = [order.slice(0, threshold), order.slice(threshold)];
    // Members with attempts spent are asked at once too: the proof gives those back.
    const atOnce = [...first, ...others.filter(isSpent)];
    yield* this.#start([...atOnce, ...others.filter((member) => !isSpent(member))], atOnce.length);
    let opened = yield* this.#open(1);
    if (!opened) {
      yield* this.#start(order.filter((member) => !this.#asked.has(member)));
      yield* stragglers();
      this.#op.absorb();
      yield* this.#start(this.#order().filter((member) => !this.#asked.has(member)));
      opened = yield* this.#open();
    }
    return opened ? yield* this.#finish(opened) : this.#unopened();
  }

  /** Tells every member whose attempt is still open that it is over. */
  *close(): Program<void> {
    this.#ended ??= 'failed';
    yield* abandon(this.#op, this.#started, this.#told);
  }

  /** The holders, slow ones last. */
  #order(): MemberId[] {
    const { slow } = this.#op.session;
    const { dealing, fleet } = this.#candidate;
    const holders = fleet.members.filter((member) => claim(this.#op.looks.get(member), dealing));
    const willing = this.#op.willing(holders);
    return [
      ...willing.filter((member) => !slow.has(member)),
      ...willing.filter((member) => slow.has(member)),
    ];
  }

  /** Has members evaluate the password. With `atOnce` the round ends when T have done so. */
  *#start(members: readonly MemberId[], atOnce?: number): Program<void> {
    const { dealing, fleet } = this.#candidate;
    const { threshold } = fleet.quorums;
    const sent = new Map<MemberId, Opaque>();
    const note = (member: MemberId, reply: Reply<'start'>) => {
      if (!reply.ok) return;
      const { recoveryId, message, attemptsRemaining } = reply.answer;
      this.#op.spent.add(member);
      this.#remaining.set(member, attemptsRemaining);
      const index = fleet.members.indexOf(member) + 1;
      this.#started.set(member, { recoveryId, index, sent: sent.get(member), received: message });
    };
    const late = (member: MemberId, reply: Reply<'start'>): Program<void> => {
      note(member, reply);
      return this.#late(member, reply);
    };
    const replies = yield* this.#op.ask(
      'start',
      members,
      (member) => {
        sent.set(member, this.#login.message());
        return { dealing, message: sent.get(member) };
      },
      atOnce === undefined ? { late } : { late, atOnce, enough: (so) => answered(so).length >= threshold },
    );
    for (const [member, reply] of replies) {
      this.#asked.add(member);
      note(member, reply);
    }
  }

  /** Handles an answer that came after the others had decided the outcome. */
  *#late(member: MemberId, reply: Reply<'start'>): Program<void> {
    if (!reply.ok || !this.#ended) return;
    const { recoveryId } = reply.answer;
    if (this.#ended === 'failed') {
      yield* this.#op.ask('abandon', [member], () => ({ recoveryId }));
      return;
    }
    yield* this.#finishOne(member, this.#ended);
  }

  *#finishOne(member: MemberId, combination: Combination): Program<void> {
    this.#told.add(member);
    try {
      const one = this.#started.get(member) as Started;
      const message = yield* openOne(this.#op, this.#login, member, one, combination);
      if (message === undefined) return;
      const { recoveryId } = one;
      yield* this.#op.ask('finish', [member], () => ({ recoveryId, message }));
    } catch (error) {
      // The caller aborted before it was sent.
      this.#told.delete(member);
      throw error;
    }
  }

  /**
   * The combination that opens the envelopes of T members whose own evaluations lead to it. If fewer were
   * enough, a liar who sees the others' evaluations could make up an evaluation, and an envelope for it, that
   * opens under a password of its choice.
   */
  *#open(most = Number.POSITIVE_INFINITY): Program<Opened | undefined> {
    const { quorums } = this.#candidate.fleet;
    const tried = new Map([...this.#started].filter(([member]) => !this.#op.session.caught.has(member)));
    for (const combination of this.#login.combinations(quorums.threshold, tried).slice(0, most)) {
      const messages = new Map<MemberId, Opaque>();
      for (const [member, one] of tried) {
        const message = yield* work(() => this.#login.open(member, one, combination));
        if (message !== undefined) messages.set(member, message);
      }
      if (combination.group.filter((member) => messages.has(member)).length >= quorums.opensNeeded())
        return { combination, tried, messages };
    }
    return undefined;
  }

  *#finish({ combination, tried, messages }: Opened): Program<Opening> {
    this.#ended = combination;
    this.#expose(combination, tried, messages);
    const { dealing, holders } = this.#candidate;
    const between = [...this.#started.keys()].filter((member) => !tried.has(member));
    const first = yield* prove(this.#op, this.#login, this.#started, messages, 1, this.#told);
    let { proven, backupKey, expired } = first;
    for (const member of this.#op.willing(between)) yield* this.#finishOne(member, combination);
    // The password is stretched by now. So if the proof came too late, the proof of a second login is in
    // time, and gives the attempts back.
    const rest = backupKey
      ? expired
      : holders.filter((one) => !this.#asked.has(one) || expired.includes(one));
    if (rest.length > 0) {
      const more = yield* proveAt(this.#op, this.#login, dealing, combination, rest);
      proven = new Set([...proven, ...more.proven]);
      backupKey ??= more.backupKey;
      expired = more.expired;
    }
    // The quick ones may have lied.
    if (!backupKey) yield* stragglers();
    backupKey ??= yield* first.readSlow();
    if (!backupKey && expired.length > 0) throw new ExchangeExpired(this.#op.session.needed);
    if (!backupKey)
      throw this.#op.tooFew(
        proven.size,
        this.#candidate.fleet,
        'the password is right, but no vault gave the key that it sealed; try again',
      );
    return { candidate: this.#candidate, combination, proven, backupKey };
  }

  /** Catches members whose envelope did not open or whose evaluation is wrong. */
  #expose(
    combination: Combination,
    tried: ReadonlyMap<MemberId, Started>,
    messages: ReadonlyMap<MemberId, Opaque>,
  ): void {
    const { fleet } = this.#candidate;
    const { threshold } = fleet.quorums;
    const liars = fleet.quorums.hidden(this.#op.caughtIn(fleet));
    const wrong = this.#login.exposed(threshold, liars, tried, combination);
    this.#op.catch(wrong, 'its evaluation is wrong');
    const closed = [...tried.keys()].filter((member) => !messages.has(member));
    this.#op.catch(closed, 'its answer does not fit the registration');
  }

  #unopened(): Unopened {
    const { fleet } = this.#candidate;
    const { threshold } = fleet.quorums;
    const all = new Map([...this.#started].filter(([member]) => !this.#op.session.caught.has(member)));
    const caught = this.#op.caughtIn(fleet);
    const certain = all.size >= fleet.quorums.answersNeeded(caught);
    const wrong = this.#login.exposed(threshold, fleet.quorums.hidden(caught), all);
    this.#op.catch(wrong, 'its evaluation is wrong');
    const left = [...this.#remaining.values()].sort((a, b) => b - a);
    return {
      candidate: this.#candidate,
      answered: all.size,
      certain,
      attemptsRemaining: left[threshold - 1] ?? 0,
      suspects: this.#login.suspected(threshold, all),
    };
  }
}
