import { equal, type Stretch } from '../protocol/index.js';

/**
 * Stretches an OPRF output only once, though two logins in a row need the result: the login that ends a
 * registration has the output of the registration.
 */
export class StretchedOnce {
  readonly #stretch: Stretch;
  #output = new Uint8Array(0);
  #stretched = new Uint8Array(0);

  constructor(stretch: Stretch) {
    this.#stretch = stretch;
  }

  /** A copy of the result, which the caller zeroes. */
  readonly stretch: Stretch = async (output) => {
    if (!equal(output, this.#output)) {
      const known = Uint8Array.from(output);
      const stretched = await this.#stretch(output);
      this.wipe();
      this.#output = known;
      // An app may pass a Node.js Buffer, whose `slice` would not copy.
      this.#stretched = Uint8Array.from(stretched);
      stretched.fill(0);
    }
    return this.#stretched.slice();
  };

  wipe(): void {
    this.#output.fill(0);
    this.#stretched.fill(0);
    this.#output = new Uint8Array(0);
  }
}
