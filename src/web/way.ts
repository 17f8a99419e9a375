/**
 * The steps that lead to the one that is shown, and the browser's history, which has an entry for each: so its Back button
 * goes one step back, and leaves the page from the first. An entry holds its place, and no more.
 */
export class Way {
  /** from `home` to the step that is shown */
  readonly #steps: string[] = [];
  /** what the browser's entries stand for, those ahead included */
  #entries: string[] = [];
  /** which of them the browser is at */
  #at: number;
  #moving = false;

  /** @param whenBack is called when the browser has gone back: it takes steps away until only so many are left */
  constructor(whenBack: (left: number) => void) {
    // After a reload the entries of before are still there.
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

  /** Goes on to a step from which the way leads back to `home` alone. */
  anew(step: string): void {
    this.#steps.splice(0, Infinity, ...new Set(['home', step]));
    this.#follow();
  }

  /** @param left how many steps stay @returns those that were left, the last one first */
  back(left = this.#steps.length - 1): string[] {
    const gone = this.#steps.splice(left).reverse();
    this.#follow();
    return gone;
  }

  /** Brings the browser's history to the steps. Going to another entry takes it a moment, and it says when it is there. */
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
