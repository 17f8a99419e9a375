/** One thing that was tried on a token. */
export interface Finding {
  readonly name: string;
  /** `safe`: what an insider would try failed */
  readonly result: 'works' | 'missing' | 'safe' | 'unsafe' | 'note';
  readonly detail: string;
  /** milliseconds of one call, median */
  readonly ms?: number;
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number;

/** What a doctor finds, in the order in which it was tried. */
export class Findings {
  readonly all: Finding[] = [];

  add(name: string, result: Finding['result'], detail = ''): void {
    this.all.push({ name, result, detail });
  }

  /**
   * Does what the vault does, and measures it.
   * @returns its result; `undefined` when it failed
   */
  attempt<T>(name: string, work: () => T, times = 1, detail?: (value: T) => string): T | undefined {
    const spent: number[] = [];
    try {
      let value: T | undefined;
      for (let i = 0; i < times; i++) {
        const start = performance.now();
        value = work();
        spent.push(performance.now() - start);
      }
      this.all.push({ name, result: 'works', detail: detail?.(value as T) ?? '', ms: median(spent) });
      return value;
    } catch (error) {
      this.add(name, 'missing', (error as Error).message);
      return undefined;
    }
  }
}
