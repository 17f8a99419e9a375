import type { Answer, Kind, MemberId, Reply } from './program.js';

/** How many attempts had failed before an operation's proof, by the members that accepted the proof. */
export class FailedAttempts {
  /**
   * the operation's own attempts that no proof has ended: if it tries several dealings, a member counts these
   * too
   */
  readonly #own = new Map<MemberId, number>();
  readonly #said = new Map<MemberId, number>();

  /** Notes what a member answered. */
  note<K extends Kind>(kind: K, member: MemberId, reply: Reply<K>): void {
    if (!reply.ok) return;
    const own = this.#own.get(member) ?? 0;
    if (kind === 'start') this.#own.set(member, own + 1);
    if (kind !== 'finish') return;
    const failed = (reply.answer as Answer<'finish'>).failedAttempts - Math.max(0, own - 1);
    this.#own.set(member, Math.max(0, own - 1));
    this.#said.set(member, Math.max(this.#said.get(member) ?? 0, failed));
  }

  /**
   * The largest number that more than `liars` of the members reach, so that at least one honest member
   * reaches it.
   */
  atLeast(members: readonly MemberId[], liars: number): number {
    const said = members.flatMap((member) => this.#said.get(member) ?? []);
    return said.sort((a, b) => b - a)[liars] ?? 0;
  }
}
