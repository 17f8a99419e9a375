import type { Calls, PageKey } from '../pkcs11/index.js';

/** The token, as vault and ledger use it. A {@link TokenPool} is one; tests have one without a module. */
export interface Token {
  /** `up`: logged in; `away`: being logged in again; `refused`: the PIN is not taken, and not tried again */
  readonly state: 'up' | 'away' | 'refused' | 'closed';
  /** Why it is away, as far as that is known. */
  readonly awayReason: string | undefined;
  /** Whether it has done so much that the module should be reopened by {@link refresh}: see `renewAfter`. */
  readonly worn: boolean;
  /** Why what was written last is not in the token; `undefined` when it is. */
  readonly writeTrouble: string | undefined;

  /** Runs one operation on the next free session. @throws TokenError, InvalidInput */
  call<M extends keyof Calls>(method: M, ...args: Parameters<Calls[M]>): Promise<ReturnType<Calls[M]>>;
  /** Makes a page's key and tells every session. @throws TokenError */
  generatePageKey(label: string): Promise<void>;
  /** Destroys a page's key, and with it whatever rows it made. @throws TokenError */
  destroyPageKey(label: string): Promise<void>;
  /** The pages' keys in the token now, also those that another program made: every session is told of the sound ones. */
  listPageKeys(prefix: string): Promise<PageKey[]>;

  /** @param listener is called each time that the token has logged in again: handles from before are void */
  onReopen(listener: () => void): void;
  /** Ends every session and logs in again, to the profile's next token where it names several. */
  leave(reason: Error): void;
  /**
   * Opens module and sessions again; calls wait meanwhile. SoftHSM2 shows a process what others have written only until
   * it writes itself; after this, everything written before is seen. Handles of data objects are void.
   * @throws TokenError; the token then is looked for as after a loss
   */
  refresh(): Promise<void>;
}
