import type { MemberId, Opaque } from './program.js';

/**
 * The evaluation under the whole key that the T or more evaluations in `group` combine to. Equal names mean
 * equal elements.
 */
export interface Combination {
  readonly name: string;
  readonly group: readonly MemberId[];
}

/** What was sent to a member, and what it answered. */
export interface Started {
  /** the member's place in the fleet, which is its share's: 1 to N */
  readonly index: number;
  readonly recoveryId: string;
  readonly sent: Opaque;
  readonly received: Opaque;
}

/** One password, blinded once for all members. */
export interface Login {
  /** a fresh first message of a login */
  message(): Opaque;
  /**
   * The elements that T of the evaluations combine to, beginning with the one that most evaluations agree on.
   */
  combinations(threshold: number, started: ReadonlyMap<MemberId, Started>): Combination[];
  /**
   * Opens a member's envelope and checks its MAC.
   * @returns the last message of the login; `undefined` when the member's answer does not fit the combination
   */
  open(
    member: MemberId,
    one: Started,
    combination: Combination,
  ): Opaque | undefined | Promise<Opaque | undefined>;
  /**
   * The backup key from a member's answer to the last message, zeroed by {@link wipe}; `undefined` if it was
   * not sealed under the password.
   */
  key(message: Opaque, sealed: Opaque): Uint8Array | undefined | Promise<Uint8Array | undefined>;
  /**
   * Members whose evaluation is wrong, whichever `liars` of these members lie.
   * @param right the combination that is known to be right, if one is
   */
  exposed(
    threshold: number,
    liars: number,
    started: ReadonlyMap<MemberId, Started>,
    right?: Combination,
  ): MemberId[];
  /** Members whose evaluation is wrong unless more than half of the surplus lie together. */
  suspected(threshold: number, started: ReadonlyMap<MemberId, Started>): MemberId[];
  /** Zeroes the password, and all that was derived from it or opened with it. */
  wipe(): void;
}

/** What is registered at one member. */
export interface Offered {
  readonly dealing: string;
  /** of the share, 1 to N */
  readonly index: number;
  readonly registrationId: string;
}

/** A fresh key, its shares, and the backup key sealed under password and key. */
export interface Deal {
  /** the element that the shares' evaluations of the login's blinded password combine to */
  readonly combination: Combination;
  /** the first message of a registration */
  offer(member: MemberId): Opaque;
  /**
   * The member's share, wrapped for its answer to the offer; `undefined` if the answer is not the member's
   * own.
   */
  share(member: MemberId, offered: Offered, answer: Opaque): Opaque | undefined | Promise<Opaque | undefined>;
  wipe(): void;
}

/** The cryptography of a fleet, as its operations need it. */
export interface Scheme {
  deal(login: Login, threshold: number, size: number, backupKey: Uint8Array): Deal | Promise<Deal>;
  /** 16 hexadecimal digits */
  random(): string;
}
