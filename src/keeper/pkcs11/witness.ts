import { type ChildProcess, fork } from 'node:child_process';
import { Turn } from '../../process/index.js';
import { TokenError } from './errors.js';
import { removeObjects } from './files.js';
import type { Profile } from './profile.js';

/** What the witness is asked to look for in the token. */
export type Question =
  /** a data object with exactly these bytes */
  | { readonly data: string; readonly value: Uint8Array }
  /** the key that made this HMAC */
  | { readonly pageKey: string; readonly data: Uint8Array; readonly mac: Uint8Array }
  /** no key of this label any more */
  | { readonly noKey: string };

/** `undefined` if the token holds it, otherwise what was seen instead. */
export type Testimony = string | undefined;

export interface Answer {
  readonly seen: Testimony;
  /** files of objects that are shown but not on the disk */
  readonly unsynced?: readonly string[];
}

/** Starting a process, its module and its login takes longer than a call. */
const START_SECONDS = 60;
/**
 * Looks before the process is replaced: SoftHSM2 never frees an object that it has seen, which is 10 KB a
 * look.
 */
const LOOKS = 5000;

/**
 * A second look at the token. A module may say that an object is written, and show it from its cache, though
 * nothing reached the disk. The witness is a process of its own, with its own instance of the module and its
 * own login, which writes nothing: what it sees is in the token. If a module keeps its objects in files, the
 * witness also syncs them.
 */
export class Witness {
  #profile: Profile;
  readonly #unsynced = new Set<string>();
  #child: ChildProcess | undefined;
  #looks = 0;
  readonly #turn = new Turn();

  /** @param profile that of the token to look into */
  constructor(profile: Profile) {
    this.#profile = profile;
  }

  /** From now on looks into another token. */
  turnTo(profile: Profile): void {
    if (
      profile.token.label !== this.#profile.token.label ||
      profile.token.serial !== this.#profile.token.serial
    )
      this.end();
    this.#profile = profile;
  }

  /**
   * Begins to look: what comes from now on is new to it. Everything that could not be synced must be gone
   * before.
   * @throws TokenError `BKV_NOT_WRITTEN`
   */
  ready(): Promise<void> {
    return this.#turn.take(async () => {
      this.removeUnsynced();
      await this.#running();
    });
  }

  /**
   * Removes objects whose sync failed. The system still shows them, so they would be believed after the
   * module is reopened, but they would be lost at a power cut.
   * @throws TokenError `BKV_NOT_WRITTEN`
   */
  removeUnsynced(): void {
    try {
      removeObjects(this.#unsynced);
      this.#unsynced.clear();
    } catch (error) {
      throw new TokenError(
        `an object that is not on the disk cannot be removed: ${(error as Error).message}`,
        'BKV_NOT_WRITTEN',
      );
    }
  }

  /**
   * @throws TokenError `BKV_NOT_WRITTEN` when the token does not hold what is asked for, or nobody can know
   */
  confirm(question: Question): Promise<void> {
    return this.#turn.take(async () => {
      const { seen, unsynced = [] } = await this.#ask(await this.#running(), question);
      for (const path of unsynced) this.#unsynced.add(path);
      if (++this.#looks % LOOKS === 0 && this.#profile.files) this.end();
      if (seen !== undefined) throw new TokenError(seen, 'BKV_NOT_WRITTEN');
    });
  }

  /** Ends the process; the next question begins another one, which sees the token as it is then. */
  end(): void {
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
  }

  /** The process, or a new one if that has ended. */
  async #running(): Promise<ChildProcess> {
    if (this.#child?.connected) return this.#child;
    this.end();
    this.#child = await this.#start();
    return this.#child;
  }

  async #start(): Promise<ChildProcess> {
    // The child does not preload what was preloaded for the daemon.
    const child = fork(new URL('./witness-process.js', import.meta.url), {
      execArgv: [],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    child.unref();
    child.channel?.unref();
    // Otherwise an error between two questions would end this process.
    child.on('error', () => undefined);
    const { seen: failed } = await this.#ask(child, this.#profile);
    if (failed === undefined) return child;
    child.kill('SIGKILL');
    throw new TokenError(`nobody can check what the token writes: ${failed}`, 'BKV_NOT_WRITTEN');
  }

  #ask(child: ChildProcess, message: Question | Profile): Promise<Answer> {
    return new Promise((resolve) => {
      const answered = (answer: Answer) => {
        clearTimeout(timer);
        child.channel?.unref();
        child.off('message', answered).off('exit', ended).off('error', failed);
        resolve(answer);
      };
      const ended = () => answered({ seen: 'the process that checks it has ended' });
      const failed = ({ message: seen }: Error) => answered({ seen });
      const seconds = this.#child
        ? this.#profile.callTimeout
        : Math.max(this.#profile.callTimeout, START_SECONDS);
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        if (this.#child === child) this.#child = undefined;
        answered({ seen: 'the module does not answer' });
      }, seconds * 1000);
      child.channel?.ref();
      child.once('message', answered).once('exit', ended).once('error', failed);
      if (child.connected) child.send(message);
      else ended();
    });
  }
}
