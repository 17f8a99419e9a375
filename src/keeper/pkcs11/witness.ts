import { type ChildProcess, fork } from 'node:child_process';
import { TokenError } from './errors.js';
import type { Profile } from './profile.js';

/** What the witness is asked to look for in the token. */
export type Question =
  /** a data object with exactly these bytes */
  | { readonly data: string; readonly value: Uint8Array }
  /** the key that made this HMAC */
  | { readonly pageKey: string; readonly data: Uint8Array; readonly mac: Uint8Array }
  /** no key of this label any more */
  | { readonly noKey: string };

/** `undefined` when it is so, else what was seen instead. */
export type Testimony = string | undefined;

/** A process, its module and its login take longer to begin than a call. */
const START_SECONDS = 60;
/** SoftHSM2 frees no object that it has once seen: 10 KB a look. */
const LOOKS = 5000;

/**
 * A second look at the token. A module may say that an object is written, and show it from its cache, though nothing
 * reached the disk. The witness is a process of its own, with its own instance of the module and its own login, which
 * writes nothing: what it sees is in the token. Where a module keeps its objects in files it also syncs them.
 */
export class Witness {
  readonly #profile: Profile;
  #child: ChildProcess | undefined;
  #looks = 0;
  #turn: Promise<unknown> = Promise.resolve();

  /** @param profile whose token is the one to look into */
  constructor(profile: Profile) {
    this.#profile = profile;
  }

  /** @throws TokenError `BKV_NOT_WRITTEN` when the token does not hold what is asked for, or it cannot be known */
  confirm(question: Question): Promise<void> {
    const mine = this.#turn.then(async () => {
      this.#child ??= await this.#start();
      const seen = await this.#ask(this.#child, question);
      if (++this.#looks % LOOKS === 0 && this.#profile.files) this.end();
      if (seen !== undefined) throw new TokenError(`${seen}: is the disk full?`, 'BKV_NOT_WRITTEN');
    });
    this.#turn = mine.catch(() => undefined);
    return mine;
  }

  /** Ends the process; the next question begins another one, which sees the token as it is then. */
  end(): void {
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
  }

  async #start(): Promise<ChildProcess> {
    // Nothing that is loaded before the daemon comes with it.
    const child = fork(new URL('./witness-process.js', import.meta.url), {
      execArgv: [],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    child.unref();
    child.channel?.unref();
    const failed = await this.#ask(child, this.#profile);
    if (failed === undefined) return child;
    child.kill('SIGKILL');
    throw new TokenError(`nobody can check what the token writes: ${failed}`, 'BKV_NOT_WRITTEN');
  }

  #ask(child: ChildProcess, message: Question | Profile): Promise<Testimony> {
    return new Promise((resolve) => {
      const answered = (testimony: Testimony) => {
        clearTimeout(timer);
        child.channel?.unref();
        child.removeAllListeners();
        if (this.#child === child && !child.connected) this.#child = undefined;
        resolve(testimony);
      };
      const seconds = this.#child
        ? this.#profile.callTimeout
        : Math.max(this.#profile.callTimeout, START_SECONDS);
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        if (this.#child === child) this.#child = undefined;
        answered('the module does not answer');
      }, seconds * 1000);
      child.channel?.ref();
      child.once('message', ({ seen }: { seen: Testimony }) => answered(seen));
      child.once('exit', () => {
        if (this.#child === child) this.#child = undefined;
        answered('the process that checks it has ended');
      });
      child.once('error', ({ message: reason }) => answered(reason));
      if (child.connected) child.send(message);
      else answered('the process that checks it has ended');
    });
  }
}
