import { createReadStream } from 'node:fs';
import type { AuditKey } from './audit.js';
import {
  EVENTS,
  type Line,
  link,
  markOf,
  parse,
  runInput,
  sealInput,
  VERSION,
  type Written,
} from './line.js';

/** The place of a line that a daemon wrote. */
export interface Position {
  readonly n: number;
  readonly chain: string;
}

/** Distinguishes the lines that a daemon wrote from all others. */
export class Chains {
  readonly #key: Pick<AuditKey, 'mac'>;
  readonly #runs = new Map<string, Uint8Array>();

  constructor(key: Pick<AuditKey, 'mac'>) {
    this.#key = key;
  }

  /** Whether a daemon wrote this line after the one whose chain is `before`. */
  async links(before: string, { line, body, chain }: Written): Promise<boolean> {
    return (
      chain === link(before, body, line.v === undefined ? undefined : await this.#runKey(String(line.run)))
    );
  }

  async #runKey(run: string): Promise<Uint8Array> {
    const key = this.#runs.get(run) ?? (await this.#key.mac(runInput(run)));
    this.#runs.set(run, key);
    return key;
  }
}

/** The text between line feeds; no other character ends a line. */
export async function* linesOf(path: string): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of createReadStream(path, 'utf8')) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() as string;
    yield* lines;
  }
  if (rest) yield rest;
}

/** Reads a log from its first line on. */
export class Reading {
  readonly #key: Pick<AuditKey, 'mac'>;
  readonly #chains: Chains;
  readonly faults: string[] = [];
  log: string | undefined;
  /** that of the last line that a daemon wrote */
  position: Position | undefined;
  lines = 0;
  seals = 0;
  /** lines after {@link position} that no daemon wrote */
  added = 0;
  /** the newest mark of the retry counters */
  mark: Uint8Array | undefined;
  /** the version of lines that a newer daemon wrote */
  newer: number | undefined;
  /** the chain that the line before says it has */
  #before = '';
  #version = 1;
  /** text since the last line that is not a line: at the end of a run a crash may have cut one off */
  readonly #texts: string[] = [];
  /** lines after the newest one that is sealed */
  readonly #unsealed = new Map<number, { chain: string; event: string }>();

  constructor(key: Pick<AuditKey, 'mac'>) {
    this.#key = key;
    this.#chains = new Chains(key);
  }

  /** Lines after the last seal: the daemon ended before it could seal them. */
  get unsealed(): number {
    return [...this.#unsealed.values()].filter(({ event }) => event !== EVENTS.seal).length;
  }

  async take(text: string): Promise<void> {
    const written = parse(text);
    if (!written) {
      this.#texts.push(text);
      return;
    }
    this.lines++;
    this.log ??= this.#begin(written.line);
    this.#judgeTexts(written.line);
    if (await this.#isGenuine(written)) {
      this.added = 0;
      this.position = { n: written.line.n, chain: written.chain };
      await this.#heed(written);
    } else this.added++;
    this.#before = written.chain;
  }

  /** Reports text after the last line that no crash can have left. */
  end(): void {
    this.#judgeTexts(undefined);
  }

  /** @param next the line after them; none at the end of the file */
  #judgeTexts(next: Line | undefined): void {
    const texts = this.#texts.splice(0);
    const atEnd = next === undefined || RUNS.has(next.event) || next.v === undefined;
    if (atEnd ? texts.some(isJson) : texts.length > 0)
      this.faults.push(`after line ${this.position?.n ?? 0} stands what no daemon wrote`);
  }

  #begin(first: Line): string {
    this.#before = String(first.log);
    return this.#before;
  }

  async #isGenuine(written: Written): Promise<boolean> {
    const { n, v = 1 } = written.line;
    const fault = (text: string): false => {
      this.faults.push(`line ${n} ${text}`);
      return false;
    };
    if (v > VERSION) {
      if (await this.#chains.links(this.#before, written)) this.newer = v;
      return fault(`is of version ${v}, which this program does not know`);
    }
    if (v < this.#version) return fault(`is of version ${v}, after lines of version ${this.#version}`);
    const position = this.position ?? { n: 0, chain: this.log as string };
    if (n === position.n + 1 && (await this.#chains.links(position.chain, written))) return true;
    // A line after a changed one is judged by the chain that the changed one claims.
    if (this.added > 0 && (await this.#chains.links(this.#before, written))) return true;
    return fault('was changed or added, or lines before it are missing');
  }

  async #heed({ line, chain }: Written): Promise<void> {
    const { n, event, v = 1 } = line;
    if (v > this.#version) {
      const from = [...this.#unsealed].find(([, one]) => one.event !== EVENTS.seal)?.[0];
      if (from !== undefined)
        this.faults.push(`lines ${from} to ${n - 1} are of version ${this.#version} and were not sealed`);
      this.#version = v;
    }
    if (event === EVENTS.cut)
      this.faults.push(`lines up to ${line.seen} were missing when line ${n} was written`);
    if (event === EVENTS.lost)
      this.faults.push(
        `${line.lines} lines before line ${n} were lost, because the log could not be written`,
      );
    if (event === EVENTS.added)
      this.faults.push(`lines that no daemon wrote lay before line ${n} when it was written`);
    this.#unsealed.set(n, { chain, event });
    this.mark = markOf(line) ?? this.mark;
    if (event === EVENTS.seal) await this.#heedSeal(line);
  }

  async #heedSeal({ n, of, seal }: Line): Promise<void> {
    const sealed = this.#unsealed.get(Number(of));
    const mac = sealed && Buffer.from(await this.#key.mac(sealInput(sealed.chain))).toString('base64url');
    if (mac === undefined || seal !== mac) {
      this.faults.push(`the seal in line ${n} is not the token's`);
      return;
    }
    this.seals++;
    for (const one of this.#unsealed.keys()) if (one <= Number(of)) this.#unsealed.delete(one);
  }
}

/** Events that a run begins with. */
const RUNS: ReadonlySet<string> = new Set([EVENTS.begin, EVENTS.run]);

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
