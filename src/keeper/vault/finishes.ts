import { createHash, timingSafeEqual } from 'node:crypto';
import { VaultUnavailable } from './errors.js';
import { Exchanges } from './exchanges.js';

interface Finish<T> {
  readonly account: string;
  readonly digest: Uint8Array;
  readonly answer: () => Promise<T>;
}

/** Exchanges that were finished: the same message, sent again within the lifetime, is answered as the first was. */
export class Finishes<T> {
  readonly #known: Exchanges<Finish<T>>;

  /** @param lifetime milliseconds */
  constructor(lifetime: number) {
    this.#known = new Exchanges(lifetime, () => undefined);
  }

  close(): void {
    this.#known.close();
  }

  /**
   * Answers the first message that ends an exchange, and the same message when it is sent again.
   * @param fields all that is in the message
   * @param begin is called for a message that was not seen, and says how it is answered each time; what it throws is not
   * remembered
   */
  async once(
    id: string,
    account: string,
    fields: readonly Uint8Array[],
    begin: () => () => Promise<T>,
  ): Promise<T> {
    const digest = digestOf(fields);
    const before = this.#known.find(id, account);
    if (before && timingSafeEqual(before.digest, digest)) return before.answer();
    this.#known.expectRoom();
    const answer = begin();
    this.#known.add(id, { account, digest, answer });
    return answer();
  }
}

/** Does work until it is done or refused: what the vault could not do is tried anew each time. */
export function untilDone<T>(work: () => Promise<T>): () => Promise<T> {
  let done: Promise<T> | undefined;
  return () => {
    done ??= work().catch((error) => {
      if (error instanceof VaultUnavailable) done = undefined;
      throw error;
    });
    return done;
  };
}

function digestOf(fields: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256');
  for (const field of fields) hash.update(`${field.length} `).update(field);
  return hash.digest();
}
