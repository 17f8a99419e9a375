/** Runs `work` once for every sequence of choices that it can make. A run may stop at a state that {@link isKnown}. */
export class Choices {
  readonly #taken: { choice: number; of: number }[] = [];
  #at = 0;
  readonly #seen = new Set<string>();
  runs = 0;

  /** @returns 0 to n - 1 */
  pick(n: number): number {
    if (n <= 1) return 0;
    const before = this.#taken[this.#at];
    if (before) {
      this.#at++;
      return before.choice;
    }
    this.#taken.push({ choice: 0, of: n });
    this.#at++;
    return 0;
  }

  /** Whether this state was reached before, by other choices. */
  isKnown(state: () => string): boolean {
    if (this.#at < this.#taken.length) return false;
    const name = state();
    if (this.#seen.has(name)) return true;
    this.#seen.add(name);
    return false;
  }

  get states(): number {
    return this.#seen.size;
  }

  explore(work: () => void): void {
    do {
      this.#at = 0;
      this.runs++;
      work();
    } while (this.#next());
  }

  #next(): boolean {
    while (this.#taken.length > 0) {
      const last = this.#taken[this.#taken.length - 1] as { choice: number; of: number };
      if (++last.choice < last.of) return true;
      this.#taken.pop();
    }
    return false;
  }
}
