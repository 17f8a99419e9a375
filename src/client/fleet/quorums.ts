/**
 * For N vaults, any T of which recover and up to b of which may lie: how many vaults each step needs before
 * the next one.
 */
export class Quorums {
  constructor(
    readonly size: number,
    readonly threshold: number,
    readonly liars: number = size - threshold,
  ) {}

  /** How many liars may still be among the members that were not caught, when `caught` members were. */
  hidden(caught: number): number {
    return Math.max(0, this.liars - caught);
  }

  /**
   * How many proofs of a dealing, at members not caught, are needed before an older one may be ended: T of
   * them are honest.
   */
  proofsNeeded(caught: number): number {
    return this.threshold + this.hidden(caught);
  }

  /**
   * How many members not caught must have ended a dealing before it is dead: fewer than T can then serve it.
   */
  endsNeeded(caught: number): number {
    return this.size - this.threshold + 1 + this.hidden(caught);
  }

  /** How many answers of members not caught show that a password is wrong: T of them are honest. */
  answersNeeded(caught: number): number {
    return this.threshold + this.hidden(caught);
  }

  /**
   * How many members' envelopes must have opened, by their own evaluations, before the proof of a password
   * leaves the client.
   */
  opensNeeded(): number {
    return this.threshold;
  }
}
