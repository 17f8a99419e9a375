import { Turn } from '../../process/index.js';
import {
  type Calls,
  type OperationName,
  type PageKey,
  type Profile,
  type Question,
  Witness,
} from '../pkcs11/index.js';

/** Runs one operation on the next session that is free for it. */
export type Run = <M extends OperationName>(
  method: M,
  ...args: Parameters<Calls[M]>
) => Promise<ReturnType<Calls[M]>>;

/**
 * Writes to the token, one after the other. A write counts only once the witness has seen it too. What the
 * witness does not see is undone, if possible.
 */
export class DurableWrites {
  /** reads the first token */
  witness: Witness | undefined;
  readonly #run: Run;
  readonly #learn: (label: string, handle?: string) => void;
  readonly #turn = new Turn();
  #trouble: string | undefined;

  /** @param learn tells every session of a page's key */
  constructor(run: Run, learn: (label: string, handle?: string) => void) {
    this.#run = run;
    this.#learn = learn;
  }

  /** Why what was written last is not in the token; `undefined` when it is. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** @param profile of the first token */
  lookInto(profile: Profile): void {
    if (this.witness) this.witness.turnTo(profile);
    else this.witness = new Witness(profile);
  }

  /** Runs work that touches the token's objects while nothing else touches them. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#turn.take(work);
  }

  /** As {@link Calls.replaceData}. */
  replaceData(...[label, value, superseded, writer]: Parameters<Calls['replaceData']>): Promise<string> {
    return this.alone(async () => {
      await this.#ready();
      const handle = await this.#run('createData', label, value);
      await this.#confirm({ data: label, value }, () => this.#run('destroyData', handle));
      if (writer || superseded.length > 0) await this.#run('supersede', superseded, writer);
      return handle;
    });
  }

  generatePageKey(label: string): Promise<void> {
    return this.alone(async () => {
      await this.#ready();
      this.#learn(label, await this.#run('generatePageKey', label));
      const undo = async () => {
        await this.#run('destroyPageKey', label);
        this.#learn(label);
      };
      const data = Buffer.from(label);
      const mac = await this.#run('hmac', label, data).catch(async (error) => {
        await undo();
        throw error;
      });
      await this.#confirm({ pageKey: label, data, mac }, undo);
    });
  }

  destroyPageKey(label: string): Promise<void> {
    return this.alone(async () => {
      await this.#run('destroyPageKey', label);
      this.#learn(label);
      await this.#confirm({ noKey: label });
    });
  }

  async listPageKeys(prefix: string): Promise<PageKey[]> {
    const keys = await this.alone(() => this.#run('listPageKeys', prefix));
    for (const { label, handles, fault } of keys) this.#learn(label, fault ? undefined : handles[0]);
    return keys;
  }

  async #ready(): Promise<void> {
    await (this.witness as Witness).ready().catch((error: Error) => {
      this.#trouble = error.message;
      throw error;
    });
  }

  /**
   * Believes the token only once the witness has seen it too. @param undo takes back what the token did not
   * keep, if possible
   */
  async #confirm(question: Question, undo: () => Promise<unknown> = async () => undefined): Promise<void> {
    try {
      await (this.witness as Witness).confirm(question);
      this.#trouble = undefined;
    } catch (error) {
      this.#trouble = (error as Error).message;
      await undo().catch(() => undefined);
      this.#removeUnsynced();
      throw error;
    }
  }

  /** Removes objects that were not synced. Nothing is written before this succeeds. */
  #removeUnsynced(): void {
    try {
      this.witness?.removeUnsynced();
    } catch (error) {
      this.#trouble = (error as Error).message;
    }
  }
}
