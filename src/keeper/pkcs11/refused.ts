import { randomBytes, scryptSync } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { checkYaml, fields, list, text } from '../../config/check.js';
import { writeFileAtomicSync } from '../../process/index.js';
import { PinRefused, TokenError } from './errors.js';
import type { Profile } from './profile.js';

/**
 * A refused PIN is remembered by one byte of its hash. That distinguishes it from another PIN, and reveals
 * next to nothing.
 */
interface Refusal {
  readonly token: string;
  readonly salt: string;
  readonly hash: string;
  readonly at: string;
}

const refusals = list(fields({ token: text, salt: text, hash: text, at: text }));

/**
 * Remembers in the data folder that a token refused a PIN, so that a container which restarts for ever does
 * not lock the token.
 */
export class RefusedPins {
  readonly #path = process.env.BKV_DATA && join(process.env.BKV_DATA, 'pin-refused.json');
  readonly #token: string;

  constructor({ name, token }: Profile) {
    this.#token = `${name} ${token.label ?? ''} ${token.serial ?? ''}`;
  }

  /** @throws PinRefused when the token has refused this PIN before; TokenError when nobody can know */
  check(pin: string): void {
    const known = this.#all().find(({ token }) => token === this.#token);
    if (!known || hashOf(pin, known.salt) !== known.hash) return;
    throw PinRefused.because(
      'BKV_PIN_REFUSED',
      `it refused this one on ${known.at}; delete ${this.#path} when it is right now`,
    );
  }

  remember(pin: string): void {
    const salt = randomBytes(16).toString('hex');
    const hash = hashOf(pin, salt);
    this.#write([...this.#others(), { token: this.#token, salt, hash, at: new Date().toISOString() }]);
  }

  forget(): void {
    const others = this.#others();
    if (others.length < this.#all().length) this.#write(others);
  }

  #others(): readonly Refusal[] {
    return this.#all().filter(({ token }) => token !== this.#token);
  }

  #all(): readonly Refusal[] {
    const path = this.#path;
    if (!path) return [];
    try {
      return checkYaml(readFileSync(path, 'utf8'), path, refusals, (faults) => {
        throw new Error(faults);
      });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw new TokenError(
        `no PIN is tried, because nobody can know whether the token has refused it before: ${(error as Error).message}. Delete ${path} when the PIN is right`,
        'BKV_FILES',
      );
    }
  }

  #write(refusals: readonly Refusal[]): void {
    if (!this.#path) return;
    try {
      if (refusals.length === 0) rmSync(this.#path, { force: true });
      else writeFileAtomicSync(this.#path, JSON.stringify(refusals));
    } catch {
      // The data folder cannot be written. The token's own counter of wrong PINs remains.
    }
  }
}

const hashOf = (pin: string, salt: string): string => scryptSync(pin, salt, 1).toString('hex');
