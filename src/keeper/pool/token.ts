import type { Calls, PageKey } from '../pkcs11/index.js';

/** The token, as vault and ledger use it. A {@link TokenPool} is one; tests have one without a module. */
export interface Token {
  /**
   * `up`: logged in; `away`: being logged in again; `refused`: the PIN was refused, and is not tried again
   */
  readonly state: 'up' | 'away' | 'refused' | 'closed';
  /** Why it is away, as far as that is known. */
  readonly awayReason: string | undefined;
  /**
   * Whether it has done so many evaluations that {@link refresh} should reopen the module: see `renewAfter`.
   */
  readonly worn: boolean;
  /** Why what was written last is not in the token; `undefined` when it is. */
  readonly writeTrouble: string | undefined;

  /** Runs one operation on the next free session. @throws TokenError, InvalidInput */
  call<M extends keyof Calls>(method: M, ...args: Parameters<Calls[M]>): Promise<ReturnType<Calls[M]>>;
  /** Makes a page's key and tells every session about it. @throws TokenError */
  generatePageKey(label: string): Promise<void>;
  /** Destroys a page's key, and with it whatever rows it made. @throws TokenError */
  destroyPageKey(label: string): Promise<void>;
  /**
   * The page keys in the token now, including those that another program made. Every session is told about
   * the sound ones.
   */
  listPageKeys(prefix: string): Promise<PageKey[]>;

  /** @param listener is called each time that the token has logged in again: older handles are then void */
  onReopen(listener: () => void): void;
  /** Ends every session and logs in again, to the next token if the profile names several. */
  leave(reason: Error): void;
  /**
   * Opens module and sessions again; calls wait meanwhile. SoftHSM2 shows a process what others have written
   * only until the process writes itself. After this, everything that was written before is visible. Handles
   * of data objects are void. @throws TokenError; the token is then looked for as after a loss
   */
  refresh(): Promise<void>;
}
