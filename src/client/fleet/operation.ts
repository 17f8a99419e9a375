import { TooFewVaults } from './errors.js';
import { FailedAttempts } from './failed-attempts.js';
import {
  ask,
  type Held,
  type Kind,
  type MemberId,
  type Program,
  type Replies,
  type Reply,
  type Request,
  type Round,
} from './program.js';
import type { Quorums } from './quorums.js';
import type { Scheme } from './scheme.js';

export interface Fleet {
  /** in the order that gives each share its index */
  readonly members: readonly MemberId[];
  readonly quorums: Quorums;
  /** 8 hexadecimal digits in the names of its dealings */
  readonly tag: string;
}

/** What one client has learnt of the members, for as long as it lives. */
export interface Session {
  /** members that were caught lying, and what gave them away; they are asked for nothing more */
  readonly caught: Map<MemberId, string>;
  /** members that were slow; they are asked last */
  readonly slow: Set<MemberId>;
  /** members that were dealt a share because they lacked one */
  readonly repaired: Set<MemberId>;
  /** milliseconds that this device takes to stretch a password */
  needed: number;
}

/**
 * One operation on an account: what it works with, and what it has learnt so far. Two operations that are at
 * the same round and know the same go on in the same way; the model in `test/fleet` relies on that.
 */
export class Operation {
  /** members that did not answer, and why: they are not asked again */
  readonly silent = new Map<MemberId, string>();
  /** what keeps this client from asking members */
  readonly unable = new Map<MemberId, Error>();
  /** members that spent an attempt in this operation */
  readonly spent = new Set<MemberId>();
  looks: ReadonlyMap<MemberId, Held> = new Map();
  readonly #failed = new FailedAttempts();
  /** what else it has learnt, by name */
  readonly facts: Record<string, unknown> = {};

  constructor(
    /** the fleet, and then its predecessors, newest first */
    readonly fleets: readonly [Fleet, ...Fleet[]],
    readonly scheme: Scheme,
    readonly session: Session,
    /** how a member is called in messages: its URL */
    readonly nameOf: (member: MemberId) => string,
  ) {}

  /** What slow members have said. */
  readonly #heard = new Map<MemberId, Held>();
  #listener: ((member: MemberId, held: Held) => Program<void>) | undefined;

  *hear(member: MemberId, held: Held): Program<void> {
    if (this.#listener) yield* this.#listener(member, held);
    else this.#heard.set(member, held);
  }

  /** Treats what slow members have said by now as if they had said it in time. */
  absorb(): void {
    this.looks = new Map([...this.#heard, ...this.looks]);
    this.#heard.clear();
  }

  /** Runs `listener` on what slow members say, now and later. */
  *listen(listener: (member: MemberId, held: Held) => Program<void>): Program<void> {
    this.#listener = listener;
    for (const [member, held] of this.#heard) yield* listener(member, held);
  }

  get fleet(): Fleet {
    return this.fleets[0];
  }

  caughtIn({ members }: Fleet): number {
    return members.filter((member) => this.session.caught.has(member)).length;
  }

  catch(members: Iterable<MemberId>, by: string): void {
    for (const member of members) if (!this.session.caught.has(member)) this.session.caught.set(member, by);
  }

  /** Members that were not caught lying. */
  credible(members: Iterable<MemberId>): MemberId[] {
    return [...members].filter((member) => !this.session.caught.has(member));
  }

  /** Members that may be asked. */
  willing(members: Iterable<MemberId>): MemberId[] {
    return this.credible(members).filter((member) => !this.silent.has(member));
  }

  /** Asks those of the members that may be asked, and remembers who is silent and who lies. */
  *ask<K extends Kind>(
    kind: K,
    members: Iterable<MemberId>,
    request: (member: MemberId) => Request<K>,
    options: Omit<Round<K>, 'kind' | 'requests'> = {},
  ): Program<Replies<K>> {
    const requests = new Map(this.willing(members).map((member) => [member, request(member)]));
    const replies = yield* ask({ kind, requests, ...options, late: this.#noting(kind, options.late) });
    for (const [member, reply] of replies) {
      this.#failed.note(kind, member, reply);
      if (reply.ok) continue;
      if (reply.failure === 'lying') this.catch([member], reply.reason);
      const isDeaf = reply.failure === 'refused' && kind === 'look';
      if (reply.failure === 'unable' && reply.error) this.unable.set(member, reply.error);
      if (reply.failure === 'silent' || reply.failure === 'unable' || isDeaf)
        this.silent.set(member, reply.reason);
    }
    return replies;
  }

  /** Notes a late answer before `late` handles it. */
  #noting<K extends Kind>(kind: K, late: Late<K> | undefined): Late<K> {
    const note = (member: MemberId, reply: Reply<K>) => this.#failed.note(kind, member, reply);
    return function* (member, reply) {
      note(member, reply);
      if (late) yield* late(member, reply);
    };
  }

  /** Attempts that had failed since the last proof, as reported by more members than may lie. */
  failedAttempts(): number {
    const counts = this.fleets.map((fleet) =>
      this.#failed.atLeast(this.credible(fleet.members), fleet.quorums.hidden(this.caughtIn(fleet))),
    );
    return Math.max(...counts);
  }

  /** What has gone wrong at the fleet's members so far, each with its name. */
  failures({ members }: Fleet): string[] {
    return members.flatMap((member) => {
      const reason = this.session.caught.get(member) ?? this.silent.get(member);
      return reason === undefined ? [] : [`${this.nameOf(member)}: ${reason}`];
    });
  }

  /**
   * Why fewer than T vaults did what was asked. If this client was unable to ask too many of them, that is
   * the reason.
   */
  tooFew(answered: number, fleet: Fleet, what?: string): Error {
    const unable = fleet.members.flatMap((member) => this.unable.get(member) ?? []);
    const [first] = unable;
    if (first && unable.length > fleet.members.length - fleet.quorums.threshold) return first;
    return new TooFewVaults(answered, fleet.quorums.threshold, this.failures(fleet), what);
  }
}

type Late<K extends Kind> = NonNullable<Round<K>['late']>;

/** Those that answered, with their answers. */
export const answered = <K extends Kind>(replies: Replies<K>) =>
  [...replies].flatMap(([member, reply]) => (reply.ok ? [[member, reply.answer] as const] : []));
