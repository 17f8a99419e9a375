/** Values of a metric's labels. They are closed sets: no account, address or secret is among them. */
export type Labels = Readonly<Record<string, string | number>>;

export interface Described {
  readonly name: string;
  readonly help: string;
  readonly labelNames?: readonly string[];
}

const escaped = (text: string): string => text.replace(/[\\\n"]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`));

/** Samples of one name, rendered in the text format of Prometheus. */
export abstract class Metric {
  abstract readonly type: 'counter' | 'gauge' | 'histogram';
  readonly labelNames: readonly string[];

  constructor(readonly described: Described) {
    this.labelNames = described.labelNames ?? [];
  }

  /** The sample lines. */
  protected abstract samples(): string[];

  /**
   * Labels as they are written in a sample; they are also its key. @throws Error for a label that the metric
   * does not have
   */
  protected keyOf(labels: Labels): string {
    for (const name in labels)
      if (!this.labelNames.includes(name)) throw new Error(`${this.described.name} has no label ${name}`);
    const parts = this.labelNames.flatMap((name) =>
      labels[name] === undefined ? [] : `${name}="${escaped(String(labels[name]))}"`,
    );
    return parts.join(',');
  }

  render(): string {
    const { name, help } = this.described;
    return [`# HELP ${name} ${help}`, `# TYPE ${name} ${this.type}`, ...this.samples(), ''].join('\n');
  }
}

const braced = (key: string): string => (key ? `{${key}}` : '');

/** One number for each set of labels; 0 from the beginning when it has no labels. */
abstract class Numbers extends Metric {
  protected readonly values = new Map<string, number>();

  constructor(described: Described) {
    super(described);
    if (this.labelNames.length === 0) this.values.set('', 0);
  }

  protected samples(): string[] {
    return [...this.values].map(([key, value]) => `${this.described.name}${braced(key)} ${value}`);
  }
}

/** A count that only grows. */
export class Counter extends Numbers {
  readonly type = 'counter';

  inc(labels: Labels = {}, by = 1): void {
    const key = this.keyOf(labels);
    this.values.set(key, (this.values.get(key) ?? 0) + by);
  }
}

/** A number that goes up and down. */
export class Gauge extends Numbers {
  readonly type = 'gauge';

  set(value: number): void;
  set(labels: Labels, value: number): void;
  set(first: Labels | number, second?: number): void {
    if (typeof first === 'number') this.values.set('', first);
    else this.values.set(this.keyOf(first), second as number);
  }

  /** Seconds since 1970. */
  setToCurrentTime(): void {
    this.set(Date.now() / 1000);
  }
}

interface Distribution {
  readonly counts: number[];
  sum: number;
  count: number;
}

/** How often values fell at or below each bound. */
export class Histogram extends Metric {
  readonly type = 'histogram';
  readonly #bounds: readonly number[];
  readonly #distributions = new Map<string, Distribution>();

  constructor({ buckets, ...described }: Described & { readonly buckets: readonly number[] }) {
    super(described);
    this.#bounds = buckets;
    if (this.labelNames.length === 0) this.#of('');
  }

  observe(value: number): void;
  observe(labels: Labels, value: number): void;
  observe(first: Labels | number, second?: number): void {
    const value = typeof first === 'number' ? first : (second as number);
    const distribution = this.#of(typeof first === 'number' ? '' : this.keyOf(first));
    const at = this.#bounds.findIndex((bound) => value <= bound);
    if (at >= 0) distribution.counts[at] = (distribution.counts[at] as number) + 1;
    distribution.sum += value;
    distribution.count++;
  }

  #of(key: string): Distribution {
    let found = this.#distributions.get(key);
    if (!found) {
      found = { counts: this.#bounds.map(() => 0), sum: 0, count: 0 };
      this.#distributions.set(key, found);
    }
    return found;
  }

  protected samples(): string[] {
    const { name } = this.described;
    return [...this.#distributions].flatMap(([key, { counts, sum, count }]) => {
      const comma = key ? `,${key}` : '';
      let below = 0;
      const buckets = this.#bounds.map((bound, i) => {
        below += counts[i] as number;
        return `${name}_bucket{le="${bound}"${comma}} ${below}`;
      });
      return [
        ...buckets,
        `${name}_bucket{le="+Inf"${comma}} ${count}`,
        `${name}_sum${braced(key)} ${sum}`,
        `${name}_count${braced(key)} ${count}`,
      ];
    });
  }
}
