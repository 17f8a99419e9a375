import { p256 } from '@noble/curves/nist.js';
import type { Dealing, DoubleVault } from './double.js';
import type { Random } from './liar.js';

const { Fn } = p256.Point;

/**
 * Liars that agree with each other. Their evaluations lie on one wrong polynomial of degree T - 1. It meets the right
 * polynomial at T - 1 honest members. Together with those, the liars look like a majority against the other honest members.
 */
export class Conspiracy {
  readonly #vaults: DoubleVault[] = [];
  /** by dealing: what is added to a member's share */
  readonly #offsets = new Map<string, (index: number) => bigint>();

  constructor(
    readonly random: Random,
    readonly shape: () => { readonly size: number; readonly threshold: number },
  ) {}

  join(vault: DoubleVault): void {
    this.#vaults.push(vault);
  }

  shareOf({ name, index, share }: Dealing): Uint8Array {
    const offset = this.#offsets.get(name) ?? this.#agree(name);
    this.#offsets.set(name, offset);
    return Fn.toBytes(Fn.add(Fn.fromBytes(share), offset(index)));
  }

  #agree(name: string): (index: number) => bigint {
    const { size, threshold } = this.shape();
    const ours = new Set(this.#vaults.map(({ seen }) => seen.get(name)?.index));
    const honest = Array.from({ length: size }, (_, i) => i + 1).filter((index) => !ours.has(index));
    while (honest.length >= threshold) honest.splice(this.random.pick(honest.length), 1);
    const scale = BigInt(1 + this.random.pick(2 ** 31));
    return (index) => honest.reduce((sum, one) => Fn.mul(sum, Fn.create(BigInt(index - one))), scale);
  }
}
