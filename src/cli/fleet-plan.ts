import { type FleetDefinition, Quorums } from '../client/index.js';
import type { FleetFile } from './fleet-file.js';
import { counted } from './report.js';

const MAX_ATTEMPTS = 10;

/** What a fleet file means. */
export interface Plan {
  readonly vaults: number;
  readonly threshold: number;
  readonly liars: number;
  /** how many vaults must take part before a change of password has ended the old one */
  readonly changeNeeds: number;
  /** guesses at one password between two logins while 0, 1, … vaults are in an attacker's hands */
  readonly guesses: readonly number[];
  readonly predecessors: readonly Move[];
  /** the same in total, while accounts may still be at predecessors */
  readonly guessesInAll: number;
}

/** From a predecessor to the fleet. */
interface Move {
  readonly vaults: number;
  readonly threshold: number;
  readonly stay: number;
  readonly join: number;
  readonly leave: number;
  /** how many vaults of the new fleet must prove the password */
  readonly proofsNeeded: number;
  /** how many of the predecessor must acknowledge the end of the old account */
  readonly endsNeeded: number;
}

const names = ({ vaults }: FleetDefinition): string[] =>
  vaults.map(({ serverPublicKey }) => Buffer.from(serverPublicKey).toString('base64url'));
const quorumsOf = ({ vaults, threshold, liars }: FleetDefinition): Quorums =>
  new Quorums(vaults.length, threshold, liars);
const some = (count: number): string => counted(count, 'vault');

/** The most guesses at one password, between two logins, when `fallen` vaults are in an attacker's hands. */
const guesses = ({ size, threshold }: Quorums, fallen: number): number =>
  Math.floor(((size - fallen) * MAX_ATTEMPTS) / (threshold - fallen));

export function planOf(file: FleetFile): Plan {
  const quorums = quorumsOf(file);
  const { size: vaults, threshold, liars } = quorums;
  const proofsNeeded = quorums.proofsNeeded(0);
  const predecessors = file.predecessors.map((one): Move => {
    const [mine, theirs, old] = [names(file), names(one), quorumsOf(one)];
    const stay = theirs.filter((name) => mine.includes(name)).length;
    return {
      vaults: old.size,
      threshold: old.threshold,
      stay,
      join: vaults - stay,
      leave: old.size - stay,
      proofsNeeded,
      endsNeeded: old.endsNeeded(0),
    };
  });
  return {
    vaults,
    threshold,
    liars,
    changeNeeds: Math.max(proofsNeeded, quorums.endsNeeded(0)),
    guesses: Array.from({ length: threshold }, (_, fallen) => guesses(quorums, fallen)),
    predecessors,
    guessesInAll: [file, ...file.predecessors].reduce((sum, one) => sum + guesses(quorumsOf(one), 0), 0),
  };
}

/** The same for a person. */
export function linesOf(plan: Plan): string[] {
  const { vaults, threshold, liars, changeNeeds, predecessors, guessesInAll } = plan;
  const away = vaults - changeNeeds;
  const [whole, ...fallen] = plan.guesses;
  return [
    `${vaults} vaults, of which any ${threshold} recover a key. Its owner cannot reach it with ${some(vaults - threshold + 1)} away.`,
    `Up to ${liars} may lie or lose what they hold.`,
    `A change of password ends the old one once ${changeNeeds} vaults took part${
      away > 0 ? `; ${some(away)} may be away.` : '. With one away it is pending, and both passwords open.'
    }`,
    `With ${MAX_ATTEMPTS} attempts at each vault, one password can be guessed at ${whole} times between two logins.`,
    ...fallen.map((times, i) => `  with ${some(i + 1)} in an attacker's hands: ${times} times`),
    `  with ${threshold} or more: without limit`,
    ...predecessors.flatMap((move, i) => [
      '',
      `${i === 0 ? 'Its predecessor' : `The predecessor ${i + 1} before it`}: ${move.threshold} of ${move.vaults}. ${some(move.stay)} stay, ${move.join} join, ${move.leave} leave.`,
      `An account moves when its owner recovers next: ${move.proofsNeeded} vaults of the new fleet must prove the password first.`,
      `Keep the old vaults up until then. The old account is ended once ${move.endsNeeded} of the ${move.vaults} have acknowledged.`,
    ]),
    ...(predecessors.length > 0
      ? ['', `Until an account has moved, guesses add up: ${guessesInAll} in all between two logins.`]
      : []),
  ];
}
