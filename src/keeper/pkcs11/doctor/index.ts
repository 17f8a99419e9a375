import { statSync } from 'node:fs';
import { Binding } from '../binding.js';
import { ReadableByOthers, type TokenError } from '../errors.js';
import { readPin } from '../pin.js';
import type { Profile } from '../profile.js';
import { Session } from '../session.js';
import { keysLieInFiles } from '../software.js';
import { type Finding, Findings } from './findings.js';
import { tryAttacks } from './insider.js';
import { lookAtMechanisms, makeKeys, tryOperations } from './needs.js';
import { tryObjects } from './room.js';
import { throwAway, throwAwayKeys } from './throw-away.js';

export type { Finding } from './findings.js';

/**
 * Tries on a token everything that the vault needs, and everything that an insider could do, with throw-away
 * keys and objects. @param accounts how many accounts one data object of the ledger serves
 * @param objects how many data objects to try to hold at once
 */
export function examine(profile: Profile, accounts: number, objects = 300): readonly Finding[] {
  const findings = new Findings();
  lookAround(profile, findings);
  lookAtKeys(profile, findings);
  const binding = findings.attempt(
    'module, token and login',
    () => new Binding(profile),
    1,
    (opened) => describe(opened),
  );
  if (!binding) return findings.all;
  try {
    // Objects of an earlier doctor that was cut off.
    cleanUp(binding, findings);
    if (keysLieInFiles(profile, binding))
      findings.add(
        'where the keys lie',
        'unsafe',
        'keys lie in files: whoever has the PIN and these, or the process that uses them, has the keys',
      );
    tryVault(profile, binding, { accounts, objects }, findings);
    tryAttacks(binding, findings);
  } finally {
    cleanUp(binding, findings);
    binding.close();
  }
  return findings.all;
}

function tryVault(
  profile: Profile,
  binding: Binding,
  room: { accounts: number; objects: number },
  findings: Findings,
): void {
  lookAtMechanisms(binding, findings);
  const made = makeKeys(binding, findings);
  const session = findings.attempt('session', () => new Session(profile, { keys: throwAwayKeys }));
  if (!session) return;
  try {
    tryOperations(session, made, findings);
    tryObjects(session, { ...room, objectBytes: profile.objectBytes }, findings);
  } finally {
    session.close();
    cleanUp(binding, findings);
  }
}

/** A token that fails now must not hide what was found before. */
function cleanUp(binding: Binding, findings: Findings): void {
  try {
    throwAway(binding);
  } catch (error) {
    findings.add('throw-away keys and objects', 'missing', `some are left: ${(error as Error).message}`);
  }
}

/** The PIN and the module, as files of this host. */
function lookAround(profile: Profile, findings: Findings): void {
  try {
    readPin(profile);
    findings.add('PIN', 'works');
  } catch (error) {
    findings.add('PIN', error instanceof ReadableByOthers ? 'unsafe' : 'missing', (error as Error).message);
  }
  const { mode, uid } = statSync(profile.module);
  if (mode & 0o022 || (uid !== 0 && uid !== process.getuid?.()))
    findings.add('module', 'unsafe', `others can write ${profile.module}`);
}

/** The keys of the vault, where the token has some. */
function lookAtKeys(profile: Profile, findings: Findings): void {
  const name = "the vault's keys";
  try {
    const session = new Session({ ...profile, requireNonExportable: false });
    const { exposure, strange } = session;
    session.close();
    for (const label of strange)
      findings.add(name, 'unsafe', `somebody else put ${label} into the token; the vault passes it over`);
    if (exposure.ways.length === 0) findings.add(name, 'safe', 'none leaves the token through the module');
    else
      findings.add(
        name,
        'unsafe',
        `whoever has the PIN can take keys away: ${exposure.ways.join('; ')}. Keys cannot be mended: a new token, and a fleet or new registrations, are the remedy`,
      );
  } catch (error) {
    const { reason, message } = error as TokenError;
    findings.add(name, reason === 'BKV_UNSAFE_KEY' ? 'unsafe' : 'note', message);
  }
}

/** What module and token say about themselves. */
function describe({ p11, slot }: Binding): string {
  const { libraryDescription, libraryVersion } = p11.C_GetInfo();
  const { manufacturerID, model, firmwareVersion } = p11.C_GetTokenInfo(slot);
  const version = ({ major, minor }: { major: number; minor: number }) => `${major}.${minor}`;
  return `${libraryDescription.trim()} ${version(libraryVersion)}, ${manufacturerID.trim()} ${model.trim()} (firmware ${version(firmwareVersion)})`;
}
