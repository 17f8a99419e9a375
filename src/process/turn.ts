/** Runs work one after the other, in the order in which it came. */
export class Turn {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `work` once everything that came before has ended, whether it succeeded or failed. */
  take<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => undefined);
    return mine;
  }

  /** Resolves when everything that came until now has ended. */
  async ended(): Promise<void> {
    await this.#last;
  }
}
