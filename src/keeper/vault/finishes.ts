import { createHash, timingSafeEqual } from 'node:crypto';
import { Answer, VaultUnavailable } from './errors.js';
import { Exchanges } from './exchanges.js';

/** The result of a message that ends an exchange. */
export interface Ending<T> {
  /** answers the message, each time it comes */
  answer(): Promise<T>;
  /** is called once the message is no longer answered */
  forget?(): void;
}

interface Finish<T> extends Ending<T> {
  readonly account: string;
  readonly digest: Uint8Array;
}

/** Exchanges that were finished: the same message, sent again within the lifetime, gets the same answer. */
export class Finishes<T> {
  readonly #known: Exchanges<Finish<T>>;

  /** @param lifetime milliseconds */
  constructor(lifetime: number) {
    this.#known = new Exchanges(lifetime, (finish) => finish.forget?.());
  }

  close(): void {
    this.#known.end();
  }

  /**
   * Answers the first message that ends an exchange, and the same message when it is sent again.
   * @param fields all that is in the message
   * @param begin is called for a message that was not seen before; what it throws is not remembered
   */
  async once(id: string, account: string, fields: readonly Uint8Array[], begin: () => Ending<T>): Promise<T> {
    const digest = digestOf(fields);
    const before = this.#known.find(id, account);
    if (before && timingSafeEqual(before.digest, digest)) return before.answer();
    this.#known.expectRoom();
    const ending = begin();
    this.#known.add(id, { account, digest, ...ending });
    return ending.answer();
  }
}

/**
 * Remembers the result once the work is done or refused. If the vault could not do the work, or failed in it, each
 * call tries it again. @param over is called when it is no longer tried
 */
export function untilDone<T>(work: () => Promise<T>, over: () => void = () => undefined): Ending<T> {
  let done: Promise<T> | undefined;
  const attempt = async (): Promise<T> => {
    try {
      const result = await work();
      over();
      return result;
    } catch (error) {
      if (error instanceof Answer && !(error instanceof VaultUnavailable)) over();
      else done = undefined;
      throw error;
    }
  };
  return {
    answer: () => {
      done ??= attempt();
      return done;
    },
    forget: over,
  };
}

function digestOf(fields: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256');
  for (const field of fields) hash.update(`${field.length} `).update(field);
  return hash.digest();
}
