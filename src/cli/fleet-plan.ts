import { type FleetDefinition, Quorums } from '../client/index.js';
import type { FleetFile } from './fleet-file.js';

const MAX_ATTEMPTS = 10;

const names = ({ vaults }: FleetDefinition): string[] =>
  vaults.map(({ serverPublicKey }) => Buffer.from(serverPublicKey).toString('base64url'));
const quorumsOf = ({ vaults, threshold, liars }: FleetDefinition): Quorums =>
  new Quorums(vaults.length, threshold, liars);
const some = (count: number): string => `${count} ${count === 1 ? 'vault' : 'vaults'}`;

/** The most guesses at one password, between two logins, when `fallen` vaults are in an attacker's hands. */
const guesses = ({ size, threshold }: Quorums, fallen: number): number =>
  Math.floor(((size - fallen) * MAX_ATTEMPTS) / (threshold - fallen));

/** What a fleet file means, and what changes from each of its predecessors: lines for a person. */
export function planOf(file: FleetFile): string[] {
  const quorums = quorumsOf(file);
  const { size, threshold, liars } = quorums;
  const proofs = quorums.proofsNeeded(0);
  const ends = quorums.endsNeeded(0);
  const away = size - Math.max(proofs, ends);
  const lines = [
    `${size} vaults, of which any ${threshold} recover a key: it takes ${some(size - threshold + 1)} that fail to keep it from its owner.`,
    `Up to ${liars} may lie or lose what they hold.`,
    `A change of password ends the old one once ${Math.max(proofs, ends)} vaults took part${
      away > 0 ? `; ${some(away)} may be away.` : '. With one away it is pending, and both passwords open.'
    }`,
    `With ${MAX_ATTEMPTS} attempts at each vault, one password can be guessed at ${guesses(quorums, 0)} times between two logins.`,
    ...Array.from({ length: threshold - 1 }, (_, i) => {
      const fallen = i + 1;
      return `  with ${some(fallen)} in an attacker's hands: ${guesses(quorums, fallen)} times`;
    }),
    `  with ${threshold} or more: without limit`,
  ];
  const total = file.predecessors.reduce((sum, one) => sum + guesses(quorumsOf(one), 0), guesses(quorums, 0));
  file.predecessors.forEach((one, i) => {
    const [mine, theirs] = [names(file), names(one)];
    const label = i === 0 ? 'Its predecessor' : `The predecessor ${i + 1} before it`;
    const stay = theirs.filter((name) => mine.includes(name)).length;
    const old = quorumsOf(one);
    lines.push(
      '',
      `${label}: ${old.threshold} of ${old.size}. ${some(stay)} stay, ${size - stay} join, ${old.size - stay} leave.`,
      `An account moves when its owner recovers next: ${proofs} vaults of the new fleet must prove the password first.`,
      `Keep the old vaults up until then. The old account is ended once ${old.endsNeeded(0)} of the ${old.size} have acknowledged.`,
    );
  });
  if (file.predecessors.length > 0)
    lines.push('', `Until an account has moved, guesses add up: ${total} in all between two logins.`);
  return lines;
}
