import { bytesToHex } from '@noble/hashes/utils.js';
import { hash, isElement, toBase64url } from '../../protocol/index.js';
import { BkvError } from '../errors.js';
import type { Fleet } from './operation.js';
import type { MemberId } from './program.js';
import { Quorums } from './quorums.js';

export interface FleetVault {
  readonly url: string;
  /** the vault's static public key, pinned, 33 bytes */
  readonly serverPublicKey: Uint8Array;
}

/** Which vaults make up a fleet. */
export interface FleetDefinition {
  /** in an order that does not change: a vault's place is its share's index */
  readonly vaults: readonly FleetVault[];
  /** T: how many vaults must answer, more than half of them */
  readonly threshold: number;
  /** b: how many vaults may lie without harm to a change of password, at most N - T, which is the default */
  readonly liars?: number;
}

export const idOf = ({ serverPublicKey }: Pick<FleetVault, 'serverPublicKey'>): MemberId =>
  toBase64url(serverPublicKey);

/** A share's index is one byte on the wire. */
const MOST_VAULTS = 255;

/** @throws BkvError `InvalidFleet` */
export function defineFleet({ vaults, threshold, liars }: FleetDefinition): Fleet {
  const size = vaults.length;
  const check = (isGood: boolean, what: string) => {
    if (!isGood) throw new BkvError('InvalidFleet', what);
  };
  check(
    Number.isInteger(threshold) && threshold > size / 2 && threshold <= size,
    `the threshold of ${size} vaults is more than half of them and at most all, not ${threshold}`,
  );
  check(
    liars === undefined || (Number.isInteger(liars) && liars >= 0 && liars <= size - threshold),
    `of ${size} vaults with a threshold of ${threshold}, 0 to ${size - threshold} may lie, not ${liars}`,
  );
  check(size <= MOST_VAULTS, `a fleet has ${MOST_VAULTS} vaults at most, not ${size}`);
  const members = vaults.map(idOf);
  check(new Set(members).size === size, 'two vaults of the fleet have the same static public key');
  for (const { url, serverPublicKey } of vaults)
    check(
      isElement(serverPublicKey),
      `what is pinned for ${url} is not a vault's public key, which has 33 bytes; take it again from where the vault's operator shows it`,
    );
  return { members, quorums: new Quorums(size, threshold, liars), tag: tagOf(threshold, vaults) };
}

/** 8 hexadecimal digits that stand for threshold, vaults and their order. */
function tagOf(threshold: number, vaults: readonly FleetVault[]): string {
  const keys = vaults.flatMap(({ serverPublicKey }) => [...serverPublicKey]);
  const digest = hash(Uint8Array.from([...new TextEncoder().encode('bkv fleet 1'), threshold, ...keys]));
  return bytesToHex(digest.subarray(0, 4));
}
