/**
 * What a fleet operation asks, and what it is told. An operation is a generator without I/O: it yields rounds
 * of requests and work to be awaited, and is resumed with typed answers. `driver.ts` runs it over the
 * network; a model runs it alone.
 */

/** The vault's static public key, base64url: it names a member, whatever the member's place in a fleet. */
export type MemberId = string;

/** Opaque to all but the scheme: messages of OPAQUE, keys, sealed keys. */
export type Opaque = unknown;

export interface HeldDealing {
  readonly dealing: string;
  /** whether a password was proven against it at this vault */
  readonly proven: boolean;
  readonly attemptsRemaining: number;
  /** whether no attempt is spent */
  readonly full: boolean;
}

/** What a vault says it holds for the account. */
export interface Held {
  readonly locked: boolean;
  readonly dealings: readonly HeldDealing[];
}

/** Request and answer of each kind. */
export interface Exchanges {
  look: [request: null, answer: Held];
  start: [
    request: { readonly dealing: string; readonly message: Opaque },
    answer: { readonly recoveryId: string; readonly message: Opaque; readonly attemptsRemaining: number },
  ];
  finish: [
    request: { readonly recoveryId: string; readonly message: Opaque },
    answer: {
      readonly sealed: Opaque;
      /** attempts that have failed since the last proof */
      readonly failedAttempts: number;
    },
  ];
  abandon: [request: { readonly recoveryId: string }, answer: null];
  offer: [
    request: { readonly dealing: string; readonly index: number; readonly message: Opaque },
    answer: { readonly registrationId: string; readonly message: Opaque },
  ];
  share: [request: { readonly registrationId: string; readonly message: Opaque }, answer: null];
  commit: [request: { readonly dealing: string }, answer: null];
  withdraw: [request: { readonly dealing: string }, answer: null];
  delete: [request: null, answer: null];
}
export type Kind = keyof Exchanges;
export type Request<K extends Kind> = Exchanges[K][0];
export type Answer<K extends Kind> = Exchanges[K][1];

/**
 * `silent`: no answer, or none now. `unable`: it was not asked, because this client could not. `refused`: the
 * vault said no. `lying`: what came is not an answer to the request. `late`: asked, and still expected when
 * the round ended.
 */
export type Failure = 'silent' | 'unable' | 'refused' | 'lying' | 'late';
export type Reply<K extends Kind> =
  | { readonly ok: true; readonly answer: Answer<K> }
  | {
      readonly ok: false;
      readonly failure: Failure;
      readonly reason: string;
      /** what kept this client from asking, or what the vault refused with */
      readonly error?: Error;
    };

export type Replies<K extends Kind> = Map<MemberId, Reply<K>>;

export interface Round<K extends Kind> {
  readonly kind: K;
  /** in the order in which they are asked */
  readonly requests: ReadonlyMap<MemberId, Request<K>>;
  /**
   * how many are asked at once; one more is asked whenever an answer fails or is slow. Without it, all are
   * asked.
   */
  readonly atOnce?: number;
  /**
   * whether these replies suffice, which ends the round. Without it, the round ends when all have answered or
   * failed.
   */
  readonly enough?: (replies: Replies<K>) => boolean;
  /** whether these replies would do: the round then waits only a little longer for slow members */
  readonly fair?: (replies: Replies<K>) => boolean;
  /** what to do with an answer that comes after the round has ended */
  readonly late?: (member: MemberId, reply: Reply<K>) => Program<void>;
}

export type Effect = { readonly round: Round<Kind> } | { readonly work: () => unknown } | 'stragglers';
// biome-ignore lint/suspicious/noExplicitAny: what a generator is resumed with depends on what it yielded.
export type Program<T> = Generator<Effect, T, any>;

/** Asks members. One that is absent from the replies was not asked. */
export function* ask<K extends Kind>(round: Round<K>): Program<Replies<K>> {
  if (round.requests.size === 0) return new Map();
  return yield { round: round as unknown as Round<Kind> };
}

/** Waits for work that takes its time: stretching, deriving, opening. */
export function* work<T>(make: () => T | Promise<T>): Program<T> {
  return yield { work: make };
}

/** Waits until every late answer has come or failed, and was handled. */
export function* stragglers(): Program<void> {
  yield 'stragglers';
}
