import { randomBytes, scryptSync } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PinRefused } from './errors.js';
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

  /** @throws PinRefused when the token has refused this PIN before */
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

  #others(): Refusal[] {
    return this.#all().filter(({ token }) => token !== this.#token);
  }

  #all(): Refusal[] {
    try {
      return JSON.parse(readFileSync(this.#path as string, 'utf8')) as Refusal[];
    } catch {
      return [];
    }
  }

  #write(refusals: readonly Refusal[]): void {
    if (!this.#path) return;
    try {
      if (refusals.length === 0) rmSync(this.#path, { force: true });
      else writeFileSync(this.#path, JSON.stringify(refusals), { mode: 0o600 });
    } catch {
      // The data folder cannot be written. The token's own counter of wrong PINs remains.
    }
  }
}

const hashOf = (pin: string, salt: string): string => scryptSync(pin, salt, 1).toString('hex');
