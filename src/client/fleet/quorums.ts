/** N vaults, any T of which recover, up to b of which may lie: how many must have done what before what comes next. */
export class Quorums {
  constructor(
    readonly size: number,
    readonly threshold: number,
    readonly liars: number = size - threshold,
  ) {}

  /** Liars that may yet be among the members that were not caught, of which `caught` were. */
  hidden(caught: number): number {
    return Math.max(0, this.liars - caught);
  }

  /** Proofs of a dealing, at members not caught, before an older one may be ended: T of them are honest. */
  proofsNeeded(caught: number): number {
    return this.threshold + this.hidden(caught);
  }

  /** Members not caught that must have ended a dealing before it is dead: fewer than T can then serve it. */
  endsNeeded(caught: number): number {
    return this.size - this.threshold + 1 + this.hidden(caught);
  }

  /** Answers of members not caught that settle that a password is wrong: T of them are honest. */
  answersNeeded(caught: number): number {
    return this.threshold + this.hidden(caught);
  }

  /** Members that must have opened, by evaluations of their own, before the proof of a password leaves the client. */
  opensNeeded(): number {
    return this.threshold;
  }
}
