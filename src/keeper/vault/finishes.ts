import { createHash, timingSafeEqual } from 'node:crypto';
import { Exchanges } from './exchanges.js';

interface Finish {
  readonly account: string;
  readonly digest: Uint8Array;
  readonly done: Promise<void>;
}

/** Registrations that were finished: the same message, sent again within the lifetime, is answered as the first was. */
export class Finishes {
  readonly #known: Exchanges<Finish>;

  /** @param lifetime milliseconds */
  constructor(lifetime: number) {
    this.#known = new Exchanges(lifetime, () => undefined);
  }

  close(): void {
    this.#known.close();
  }

  /**
   * Does the work of the first message of an exchange, and answers the same message as that was answered.
   * @param fields all that is in the message
   * @param begin is called for a message that was not seen; what it throws is not remembered, what `done` rejects with is
   */
  async once(
    id: string,
    account: string,
    fields: readonly Uint8Array[],
    begin: () => { readonly done: Promise<void> },
  ): Promise<void> {
    const digest = digestOf(fields);
    const before = this.#known.find(id, account);
    if (before && timingSafeEqual(before.digest, digest)) return before.done;
    this.#known.expectRoom();
    const { done } = begin();
    // The one who asked may be gone when it fails.
    done.catch(() => undefined);
    this.#known.add(id, { account, digest, done });
    await done;
  }
}

function digestOf(fields: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256');
  for (const field of fields) hash.update(`${field.length} `).update(field);
  return hash.digest();
}
