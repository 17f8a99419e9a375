import type { Fleet, Operation } from './operation.js';
import type { Held, HeldDealing, MemberId } from './program.js';

/**
 * A dealing's name has 32 hexadecimal digits: 8 of a growing count, 8 of the fleet that it was dealt to, 16
 * random.
 */
export const nameOfDealing = (count: number, { tag }: Fleet, random: string): string =>
  count.toString(16).padStart(8, '0') + tag + random;
/** the largest count of 8 digits */
const MOST = 0xffffffff;
const countOf = (dealing: string): number => Number.parseInt(dealing.slice(0, 8) || '0', 16);
export const isOf = ({ tag }: Fleet, dealing: string): boolean => dealing.slice(8, 16) === tag;

/** A dealing that enough members say they hold. */
export interface Candidate {
  readonly fleet: Fleet;
  readonly dealing: string;
  readonly holders: readonly MemberId[];
  /** where a password was proven against it */
  readonly proven: readonly MemberId[];
}

/** What a member says of one dealing; each member counts once. */
export const claim = (held: Held | undefined, dealing: string): HeldDealing | undefined =>
  held?.dealings.find((one) => one.dealing === dealing);

/** The fleet's dealings that any member says it holds, newest first. */
export function claimed(op: Operation, fleet: Fleet, looks = op.looks): Candidate[] {
  const members = fleet.members.filter((member) => looks.has(member) && !op.session.caught.has(member));
  const names = new Set(
    members.flatMap((member) => (looks.get(member) as Held).dealings.map(({ dealing }) => dealing)),
  );
  return [...names]
    .filter((dealing) => isOf(fleet, dealing))
    .sort()
    .reverse()
    .map((dealing) => {
      const holders = members.filter((member) => claim(looks.get(member), dealing));
      return {
        fleet,
        dealing,
        holders,
        proven: holders.filter((member) => claim(looks.get(member), dealing)?.proven),
      };
    });
}

/** Whether a password was proven against it at T honest members: then nothing older is worth a try. */
export const isEstablished = (op: Operation, { fleet, proven }: Candidate): boolean =>
  proven.length >= fleet.quorums.proofsNeeded(op.caughtIn(fleet));

/**
 * The dealings that may open, in the order in which they are tried: the newest fleet first; within a fleet
 * those that were proven at T members first, and then the newer ones first. Nothing follows a dealing that is
 * established.
 */
export function candidates(op: Operation, looks = op.looks): Candidate[] {
  const all = op.fleets.flatMap((fleet) => {
    const { threshold } = fleet.quorums;
    const whole = claimed(op, fleet, looks).filter(({ holders }) => holders.length >= threshold);
    const isProven = ({ proven }: Candidate) => proven.length >= threshold;
    return [...whole.filter(isProven), ...whole.filter((one) => !isProven(one))];
  });
  const last = all.findIndex((one) => isEstablished(op, one));
  if (last < 0) return all;
  const { fleet, dealing } = all[last] as Candidate;
  const isLater = (one: Candidate) =>
    one.fleet !== fleet &&
    one.proven.length >= one.fleet.quorums.threshold &&
    !isBefore(one.dealing, dealing);
  return [...all.slice(last + 1).filter(isLater), ...all.slice(0, last + 1)];
}

/**
 * Whether a predecessor's dealing was there before the account moved. A later one comes from a device with an
 * older fleet file, which registered there after the move.
 */
export const isBefore = (predecessors: string, dealing: string): boolean =>
  countOf(predecessors) < countOf(dealing);

/**
 * A count above that of every dealing that an honest member holds and T can open. Liars alone cannot raise
 * it.
 */
export function nextCount(op: Operation): number {
  const counts = op.fleets.map((fleet) => {
    const largest = op
      .credible(fleet.members)
      .flatMap((member) => op.looks.get(member) ?? [])
      .map(({ dealings }) => Math.max(0, ...dealings.map(({ dealing }) => countOf(dealing))))
      .sort((a, b) => b - a);
    return largest[fleet.quorums.hidden(op.caughtIn(fleet))] ?? largest.at(-1) ?? 0;
  });
  return Math.min(Math.max(...counts) + 1, MOST);
}

/** Members that say they hold something that is not these fleets': a key of their own, or another fleet's. */
export const withOthers = (op: Operation): MemberId[] =>
  [...op.looks].flatMap(([member, { dealings }]) =>
    dealings.some(({ dealing }) => !op.fleets.some((fleet) => isOf(fleet, dealing))) ? [member] : [],
  );

/** Members that say they hold a share of these fleets. */
export const withShares = (op: Operation): MemberId[] =>
  [...op.looks].flatMap(([member, { dealings }]) =>
    dealings.some(({ dealing }) => op.fleets.some((fleet) => isOf(fleet, dealing))) ? [member] : [],
  );
