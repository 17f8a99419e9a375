import type { Session } from './operation.js';
import type { Effect, Kind, MemberId, Program, Replies, Reply, Request, Round } from './program.js';

/** One member's end of the wire. It never rejects: a failure is a reply too. */
export interface Member {
  ask<K extends Kind>(kind: K, request: Request<K>): Promise<Reply<K>>;
}

/** Runs programs over the network: requests, time, hedges, aborts. */
export class Driver {
  readonly #members: ReadonlyMap<MemberId, Member>;
  readonly #session: Session;
  readonly #hedge: number;
  readonly #underWay = new Set<Promise<unknown>>();

  /** @param hedge milliseconds after which a member is slow */
  constructor(members: ReadonlyMap<MemberId, Member>, session: Session, hedge: number) {
    this.#members = members;
    this.#session = session;
    this.#hedge = hedge;
  }

  /**
   * What the program returns. When the signal aborts the program, the program is told so. Its tidying up then
   * goes on in the background: see {@link settled}.
   */
  run<T>(program: Program<T>, signal?: AbortSignal): Promise<T> {
    const run = new Run(program, signal, {
      ask: (member, kind, request) => (this.#members.get(member) as Member).ask(kind, request),
      slow: (member) => this.#session.slow.add(member),
      hedge: this.#hedge,
      follow: (work) => this.#follow(work),
    });
    const done = run.drive(program);
    this.#follow(done);
    if (!signal) return done;
    return Promise.race([done, aborted(signal)]);
  }

  /**
   * Resolves once nothing that was begun is under way any more, including late answers and what they led to.
   */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
  }

  #follow(work: Promise<unknown>): void {
    const followed = work.catch(() => undefined).finally(() => this.#underWay.delete(followed));
    this.#underWay.add(followed);
  }
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

/** Whether it tidies up, which an abort must not prevent. */
export const isTidying = (effect: Effect): boolean =>
  typeof effect === 'object' && 'round' in effect && ['abandon', 'withdraw'].includes(effect.round.kind);

interface Network {
  ask<K extends Kind>(member: MemberId, kind: K, request: Request<K>): Promise<Reply<K>>;
  slow(member: MemberId): void;
  readonly hedge: number;
  /** counts something as under way until it ends */
  follow(work: Promise<unknown>): void;
}

class Run {
  readonly #main: Program<unknown>;
  readonly #signal: AbortSignal | undefined;
  readonly #network: Network;
  /** answers that are still to come, and what they lead to */
  readonly #late = new Set<Promise<void>>();

  constructor(main: Program<unknown>, signal: AbortSignal | undefined, network: Network) {
    this.#main = main;
    this.#signal = signal;
    this.#network = network;
  }

  async drive<T>(program: Program<T>): Promise<T> {
    let step = program.next();
    let isTold = false;
    while (!step.done) {
      // The program has seen the answers so far. It learns of the abort before it asks for more.
      if (program === this.#main && !isTold && this.#signal?.aborted && !isTidying(step.value)) {
        isTold = true;
        step = program.throw(this.#signal.reason);
        continue;
      }
      let result: unknown;
      try {
        result = await this.#perform(step.value);
      } catch (error) {
        step = program.throw(error);
        continue;
      }
      step = program.next(result);
    }
    return step.value;
  }

  async #perform(effect: Effect): Promise<unknown> {
    if (effect === 'stragglers') {
      while (this.#late.size > 0) await Promise.allSettled(this.#late);
      return undefined;
    }
    return 'work' in effect ? effect.work() : this.#round(effect.round);
  }

  /**
   * Resolves when there are enough answers, when all have come, or when the missing ones are slow, as the
   * round says.
   */
  #round({
    kind,
    requests,
    atOnce = requests.size,
    enough,
    fair,
    late,
  }: Round<Kind>): Promise<Replies<Kind>> {
    const { hedge } = this.#network;
    const waiting = [...requests.keys()];
    const pending = new Set<MemberId>();
    const replies: Replies<Kind> = new Map();
    const timers = new Set<ReturnType<typeof setTimeout>>();
    const after = (then: () => void) => {
      const timer = setTimeout(() => {
        timers.delete(timer);
        then();
      }, hedge);
      timers.add(timer);
    };
    return new Promise((resolve) => {
      let isOver = false;
      const end = () => {
        if (isOver) return;
        isOver = true;
        for (const timer of timers) clearTimeout(timer);
        this.#signal?.removeEventListener('abort', end);
        const so = new Map(replies);
        for (const member of pending) so.set(member, { ok: false, failure: 'late', reason: 'it is slow' });
        resolve(so);
      };
      const next = () => {
        const member = waiting.shift();
        if (member === undefined) return;
        pending.add(member);
        after(() => {
          if (!pending.has(member)) return;
          this.#network.slow(member);
          next();
        });
        const asked = this.#network.ask(member, kind, requests.get(member) as Request<Kind>).then((reply) => {
          pending.delete(member);
          if (isOver) return late && this.drive(late(member, reply));
          replies.set(member, reply);
          if (!reply.ok) next();
          if (enough?.(replies) || (pending.size === 0 && waiting.length === 0)) end();
          else if (fair?.(replies)) after(end);
          else if (pending.size === 0) next();
          return undefined;
        });
        const followed: Promise<void> = asked
          .catch(() => undefined)
          .finally(() => this.#late.delete(followed));
        this.#late.add(followed);
        this.#network.follow(followed);
      };
      this.#signal?.addEventListener('abort', end, { once: true });
      for (let i = 0; i < atOnce; i++) next();
    });
  }
}
