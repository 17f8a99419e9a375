import { closeSync, constants, openSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { type IPty, spawn } from '@lydell/node-pty';
import { isAlive } from '../../rig/processes.js';

/** Keys as a terminal sends them. */
export const KEYS = {
  enter: '\r',
  ctrlC: '\x03',
  ctrlD: '\x04',
  ctrlU: '\x15',
  ctrlW: '\x17',
  backspace: '\x7f',
  up: '\x1b[A',
  left: '\x1b[D',
  home: '\x1b[H',
  end: '\x1b[F',
  delete: '\x1b[3~',
} as const;

/** A program on a pseudo-terminal, as a person sees it. */
export class Person {
  readonly #pty: IPty;
  #seen = '';
  #from = 0;
  #exit: { exitCode: number; signal?: number } | undefined;

  constructor(command: string, args: string[], env: NodeJS.ProcessEnv) {
    this.#pty = spawn(command, args, { cols: 100, rows: 30, env: env as Record<string, string> });
    this.#pty.onData((data) => {
      this.#seen += data;
    });
    this.#pty.onExit((exit) => {
      this.#exit = exit;
    });
    void this.#holdOpen();
  }

  /**
   * Keeps the terminal from ending with the program: what the program wrote last may arrive after its end, and libuv
   * gives that up when the terminal has ended.
   */
  async #holdOpen(): Promise<void> {
    const { ptsName, pid } = this.#pty as IPty & { ptsName: string };
    const held = openSync(ptsName, constants.O_RDWR | constants.O_NOCTTY);
    while (isAlive(pid)) await setTimeout(10);
    await setTimeout(50);
    closeSync(held);
  }

  /** All that the terminal showed so far. */
  get screen(): string {
    return this.#seen;
  }

  get pid(): number {
    return this.#pty.pid;
  }

  type(...keys: string[]): void {
    for (const key of keys) this.#pty.write(key);
  }

  resize(columns: number, rows: number): void {
    this.#pty.resize(columns, rows);
  }

  /** Closes the terminal, as when its window is closed. */
  close(): void {
    (this.#pty as IPty & { destroy(): void }).destroy();
  }

  /** Sends the signal that a terminal sends when its window is closed. */
  hangUp(): void {
    this.#pty.kill('SIGHUP');
  }

  /** Waits for a text after the one that was waited for last. */
  async sees(text: RegExp): Promise<string> {
    for (;;) {
      const found = text.exec(this.#seen.slice(this.#from));
      if (found) {
        this.#from += found.index + found[0].length;
        return found[0];
      }
      if (this.#exit) throw new Error(`it ended, and did not show ${text}: ${JSON.stringify(this.#seen)}`);
      await setTimeout(10);
    }
  }

  /** @returns the exit code, or minus the number of the signal that ended it */
  async ends(): Promise<number> {
    while (!this.#exit) await setTimeout(10);
    return this.#exit.signal ? -this.#exit.signal : this.#exit.exitCode;
  }
}
