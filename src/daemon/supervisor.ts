import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { assertServable, authOf, embeddedAuth, loadConfig } from '../config/index.js';
import { log } from '../keeper/log/index.js';
import {
  aborted,
  harden,
  harmlessEnvironment,
  hearsSignals,
  hurrySignal,
  Restarts,
  stopped,
  stopSignal,
} from '../process/index.js';
import { EXITS } from '../protocol/terms.js';
import { prepareEmbedded } from './embedded.js';
import { makeIssuer } from './issuer.js';

export interface ServeOptions {
  readonly config?: string | undefined;
  readonly data: string;
  readonly listen?: string | undefined;
  readonly admin?: string | undefined;
}

/** The command itself, by which the processes are started. */
const MAIN = fileURLToPath(new URL('../cli/main.js', import.meta.url));
/** Exit codes by which a process says that another start would not help. */
const IN_VAIN = new Set<number>([EXITS.usage.code, EXITS.inVain.code]);
/** Milliseconds until a process that was told to stop is killed. */
const PATIENCE_MS = 25_000;

/** A process of this daemon. `ended` resolves to its exit code. */
class Part {
  readonly ended: Promise<number>;
  readonly #child: ChildProcess;
  #hears = false;
  #told = false;

  constructor(command: string, flags: Readonly<Record<string, string | undefined>>) {
    const given = Object.entries(flags).flatMap(([name, value]) => (value ? [`--${name}`, value] : []));
    // When the channel closes, a process knows that its parent has ended.
    this.#child = spawn(process.execPath, [...process.execArgv, MAIN, command, ...given], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      // The environment may hold the PIN and the database's password.
      env: command === 'keeper' ? process.env : harmlessEnvironment(),
    });
    this.#child.on('message', (message) => {
      this.#hears ||= hearsSignals(message);
    });
    this.ended = new Promise((done) => {
      this.#child.once('exit', (code, signal) => {
        // It was told to stop before it could handle the signal.
        if (signal === 'SIGTERM' && this.#told) done(EXITS.done.code);
        else done(code ?? EXITS[signal === 'SIGKILL' ? 'killed' : 'terminated'].code);
      });
      this.#child.once('error', () => done(EXITS.failed.code));
    });
  }

  /** Makes the process read its certificates again, which one that is still starting does anyway. */
  hangUp(): void {
    if (this.#hears) this.#child.kill('SIGHUP');
  }

  /**
   * Ends the process, by force if it takes too long. @param drain milliseconds that it may wait for its
   * callers, unless this daemon is told to stop a second time
   * @returns its exit code
   */
  async stop(drain = 0): Promise<number> {
    this.#told = true;
    this.#child.kill('SIGTERM');
    const hurried = aborted(hurrySignal).then(() => this.#child.kill('SIGTERM'));
    const late = Promise.race([setTimeout(drain, undefined, { ref: false }), hurried]).then(() =>
      setTimeout(PATIENCE_MS, 'late' as const, { ref: false }),
    );
    if ((await Promise.race([this.ended, late])) === 'late') this.#child.kill('SIGKILL');
    return this.ended;
  }
}

/**
 * Runs a vault until it is to stop: starts keeper, HTTP side and admin side, starts the latter two again when they end, and
 * ends when the keeper does.
 * @returns the keeper's exit code, or that of another process that cannot be started
 * @throws CodedError usage
 */
export async function serve(options: ServeOptions): Promise<number> {
  harden(log.warn);
  const config = loadConfig(options.config, options);
  const data = resolve(options.data);
  const auth = authOf(config, data);
  await assertServable(config);
  if (config.profile === undefined) await prepareEmbedded(data);
  if (auth.jwks === embeddedAuth(data).jwks) await makeIssuer(data);
  if (stopSignal.aborted) return EXITS.done.code;
  const sockets = mkdtempSync(join(tmpdir(), 'bkv-'));
  try {
    return await supervise(options, data, sockets, config.exchangeSeconds * 1000);
  } finally {
    rmSync(sockets, { recursive: true, force: true });
  }
}

async function supervise(
  options: ServeOptions,
  data: string,
  sockets: string,
  drain: number,
): Promise<number> {
  const { config, listen, admin } = options;
  const keeper = new Part('keeper', { config, data, sockets, listen });
  const ended = new AbortController();
  const others = [
    keepRunning('http', { config, sockets, listen }, ended.signal),
    keepRunning('admin', { config, sockets, admin }, ended.signal),
  ];
  const over = Promise.race([keeper.ended, stopped()]).then(() => undefined);
  const refused = await Promise.race([...others, over]);
  // The keeper ends first: until then, HTTP brings it the second messages of open exchanges.
  const code = await keeper.stop(drain);
  ended.abort();
  await Promise.all(others);
  return refused ?? code;
}

/**
 * Keeps a process running until the signal. @returns its exit code, if that says that a restart would not help
 */
async function keepRunning(
  command: 'http' | 'admin',
  flags: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<number | undefined> {
  const restarts = new Restarts();
  let part: Part | undefined;
  process.on('SIGHUP', () => part?.hangUp());
  signal.addEventListener('abort', () => void part?.stop(), { once: true });
  while (!signal.aborted) {
    const begun = performance.now();
    part = new Part(command, flags);
    const code = await part.ended;
    if (signal.aborted) break;
    if (IN_VAIN.has(code)) return code;
    const wait = restarts.waitAfter(begun);
    log.error('a process ended, and is started again', { process: command, code, wait });
    await setTimeout(wait, undefined, { signal }).catch(() => undefined);
  }
  return undefined;
}
