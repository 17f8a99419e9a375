/**
 * The steps that lead to the current one, and the browser's history, which has an entry for each. So the
 * browser's Back button goes one step back, and leaves the page at the first step. An entry holds only its
 * position.
 */
export class Way {
  /** from `home` to the step that is shown */
  readonly #steps: string[] = [];
  /** the steps that the browser's entries stand for, including those ahead */
  #entries: string[] = [];
  /** which of them the browser is at */
  #at: number;
  #moving = false;

  /**
   * @param whenBack is called when the browser has gone back: it must remove steps until only `left` remain
   */
  constructor(whenBack: (left: number) => void) {
    // After a reload the old entries are still there.
    const { state } = history;
    this.#at = typeof state === 'number' ? state : 0;
    this.#entries = ['home'];
    history.replaceState(this.#at, '');
    addEventListener('popstate', ({ state }) => {
      if (typeof state !== 'number') return;
      this.#at = state;
      if (this.#moving) this.#moving = false;
      else whenBack(this.#at + 1);
      this.#follow();
    });
  }

  get here(): string {
    return this.#steps.at(-1) ?? 'home';
  }

  get length(): number {
    return this.#steps.length;
  }

  /** Goes on to a step. */
  to(step: string): void {
    this.#steps.push(step);
    this.#follow();
  }

  /** Goes on to a step from which Back leads only to `home`. */
  anew(step: string): void {
    this.#steps.splice(0, Infinity, ...new Set(['home', step]));
    this.#follow();
  }

  /** @param left how many steps stay @returns the steps that were removed, the last one first */
  back(left = this.#steps.length - 1): string[] {
    const gone = this.#steps.splice(left).reverse();
    this.#follow();
    return gone;
  }

  /**
   * Adjusts the browser's history to the steps. Going to another entry takes the browser a moment; an event
   * tells when it is there.
   */
  #follow(): void {
    if (this.#moving) return;
    const differs = this.#steps.findIndex((step, i) => step !== this.#entries[i]);
    const same = differs < 0 ? this.#steps.length : differs;
    if (this.#at !== same - 1) {
      this.#moving = true;
      history.go(same - 1 - this.#at);
      return;
    }
    for (const step of this.#steps.slice(same)) {
      this.#at++;
      this.#entries = [...this.#entries.slice(0, this.#at), step];
      history.pushState(this.#at, '');
    }
  }
}
