import { createECDH } from 'node:crypto';
import { backOff } from '../../process/index.js';
import { PLAIN, SIZES } from '../../protocol/index.js';
import { compress } from '../elements/index.js';
import { log } from '../log/index.js';
import { KEY_LABELS, TokenError } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';

/** Milliseconds between two probes; the last one repeats. */
const PROBE_MS = [500, 1000, 2000, 5000, 10_000] as const;

/**
 * Watches whether the token evaluates. A token may fail at that while its objects can be read and written.
 * Then nobody recovers, and readiness must say so. After a failure a login without an account is tried again
 * and again until it succeeds.
 */
export class Evaluation {
  readonly #token: Token;
  #failing = false;
  #probing: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(token: Token) {
    this.#token = token;
  }

  get works(): boolean {
    return !this.#failing;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#probing);
  }

  /** Runs an evaluation, and probes the token if it is the token that fails. @throws what `work` throws */
  async run<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof TokenError) this.#probeIn(0, 0);
      throw error;
    }
  }

  #probeIn(ms: number, tries: number): void {
    if (this.#probing || this.#closed) return;
    this.#probing = setTimeout(async () => {
      const works = await this.#probe();
      this.#probing = undefined;
      if (works === this.#failing)
        log.error(works ? 'the token evaluates again' : 'the token does not evaluate');
      this.#failing = !works;
      if (!works) this.#probeIn(backOff(PROBE_MS, tries), tries + 1);
    }, ms).unref();
  }

  /**
   * A login with its own key, which makes the same calls as an account's login. A token that is away reports
   * that by itself.
   */
  async #probe(): Promise<boolean> {
    const ecdh = createECDH('prime256v1');
    ecdh.generateKeys();
    const element = Uint8Array.from(ecdh.getPublicKey());
    const record = new Uint8Array(SIZES.registrationRecord);
    record.set(compress(element));
    const request = {
      ...PLAIN,
      KE1: new Uint8Array(SIZES.KE1),
      blindedElement: element,
      clientKeyshare: element,
      record,
    };
    const key = { scalar: new Uint8Array(32).fill(1) };
    try {
      await this.#token.call('login', key, { label: KEY_LABELS.static }, request);
      return true;
    } catch {
      return this.#token.state !== 'up';
    }
  }
}
