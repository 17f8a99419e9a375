/** Writes that fail, in processes that have `io-errors.c` preloaded. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

export const ERRORS = { ENOSPC: 28, EIO: 5 } as const;
export const NEVER = 2n ** 63n;

/** Which writes below a folder fail, told to `io-errors.c` of every process that has it preloaded. */
export class Plan {
  readonly #file: number;
  readonly #notes: string;
  readonly env: NodeJS.ProcessEnv;

  constructor(work: string, below: string) {
    const library = join(work, 'io-errors.so');
    execFileSync('cc', ['-shared', '-fPIC', '-o', library, 'test/support/io-errors.c', '-ldl', '-lpthread']);
    const path = join(work, 'plan');
    this.#notes = `${path}.synced`;
    writeFileSync(path, Buffer.alloc(32));
    this.#file = openSync(path, 'r+');
    this.env = { LD_PRELOAD: library, BKV_IO_PLAN: path, BKV_IO_BELOW: below };
    this.fail(NEVER, NEVER);
  }

  /** Has the writes from number `first` to `last`, counted from now, fail. */
  fail(first: bigint, last: bigint, error: number = ERRORS.EIO): void {
    const bytes = Buffer.alloc(32);
    for (const [i, value] of [0n, first, last, BigInt(error)].entries()) bytes.writeBigUInt64LE(value, i * 8);
    writeSync(this.#file, bytes, 0, 32, 0);
  }

  /** Writes since {@link fail}. */
  get count(): number {
    const bytes = Buffer.alloc(8);
    readSync(this.#file, bytes, 0, 8, 0);
    return Number(bytes.readBigUInt64LE());
  }

  /**
   * Loses the objects that could not be synced, as a power cut does. SQLite writes again what it could not
   * sync.
   */
  cutPower(): void {
    if (!existsSync(this.#notes)) return;
    const known = new Set<string>();
    for (const line of readFileSync(this.#notes, 'utf8').trimEnd().split('\n')) {
      const path = line.slice(2);
      if (line.startsWith('-') && !known.has(path)) rmSync(path, { force: true });
      known.add(path);
    }
  }

  close(): void {
    closeSync(this.#file);
  }
}
