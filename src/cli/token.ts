import { createHash, createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { auditKey, verifyAudit } from '../keeper/audit/index.js';
import {
  appointCustodians,
  type Custody,
  openCustody,
  rehearseToken,
  restoreToken,
} from '../keeper/custody/index.js';
import { PAGE_CELLS } from '../keeper/ledger/index.js';
import {
  changePin,
  embeddedProfile,
  escrowKeys,
  examine,
  hasToken,
  initializeBackupToken,
  initializeToken,
  loadProfile,
  type Profile,
  readPin,
} from '../keeper/pkcs11/index.js';
import { TokenPool, tryThreads } from '../keeper/pool/index.js';
import type { Shredded } from '../keeper/vault/index.js';
import { endAs, UsageError } from './errors.js';
import { expectNew, writeNew } from './file.js';
import { readNewPassword } from './passwords.js';
import { report } from './report.js';
import { say } from './say.js';
import { readSecret } from './terminal.js';

/** Where a command finds its token: a profile, or the embedded one of a data folder. */
export interface TokenFlags {
  readonly profile?: string;
  readonly data: string;
}

function profileOf({ profile, data }: TokenFlags): Profile {
  if (!profile) return embeddedProfile(resolve(data));
  process.env.BKV_DATA = resolve(data);
  return loadProfile(profile);
}

/** Checks an audit log. Ends with exit code 1 when something is wrong with it. */
export async function auditVerify(
  flags: TokenFlags,
  file: string | undefined,
  json?: boolean,
): Promise<void> {
  const token = await TokenPool.open({ ...profileOf(flags), sessions: 1 });
  try {
    const path = file ?? join(flags.data, 'audit.log');
    const { lines, seals, unsealed, faults, others } = await verifyAudit(path, auditKey(token));
    const logs = others.map(({ log, n }) => ({ log, lines: n }));
    report(json, { log: path, lines, seals, unsealed, faults, others: logs }, () => [
      `${path}: ${lines} lines, ${seals} seals of the token, ${unsealed} lines after the last`,
      ...logs.map((other) => `the token has also seen ${other.lines} lines of another log, ${other.log}`),
      ...(faults.length > 0 ? faults : ['it is whole']),
    ]);
    if (faults.length > 0) endAs('failed');
  } finally {
    await token.close();
  }
}

/**
 * Makes a token and its keys, if they are missing, and makes it trust its backup token.
 * @param backupKey file with the public key of the backup token
 * @throws TokenError, ProfileError
 */
export async function init(
  flags: TokenFlags & CustodyFlags,
  { soPinFile, backupKey, json }: { soPinFile?: string; backupKey?: string; json?: boolean },
): Promise<void> {
  const profile = profileOf(flags);
  const there = hasToken(profile);
  const soPin = there && !backupKey ? '' : await readSoPin(flags, soPinFile);
  const { made, lacks } = initializeToken(profile, soPin, backupKey !== undefined);
  const name = profile.token.label ?? profile.token.serial;
  const leavesFor = backupKey === undefined ? undefined : trust(profile, soPin, backupKey);
  const result = { token: name, tokenMade: !there, keysMade: made, lacks: Object.fromEntries(lacks) };
  report(json, { ...result, ...(leavesFor !== undefined && { backupToken: leavesFor }) }, () => [
    ...(there ? [] : [`the token "${name}" is made`]),
    made.length > 0 ? `keys made in it: ${made.join(', ')}` : 'it has all its keys; none was made',
    ...[...lacks].map(
      ([label, attributes]) =>
        `${label} was made without ${attributes.join(', ')}, which the module does not accept: bkv doctor says what follows from that`,
    ),
    ...(leavesFor === undefined ? [] : [`they can leave it for the backup token ${leavesFor}, and no other`]),
  ]);
}

/** Makes the token trust its backup token. @param file its public key @returns its fingerprint */
function trust(profile: Profile, soPin: string, file: string): string {
  const publicKey = createPublicKey(readFileSync(file)).export({ type: 'spki', format: 'der' });
  escrowKeys(profile, soPin, publicKey);
  return fingerprint(publicKey);
}

async function readSoPin(flags: CustodyFlags, file: string | undefined): Promise<string> {
  if (flags.custodians) return (await custody(flags)).soPin;
  return file ? readFileSync(file, 'utf8').trim() : readSecret('PIN of the security officer: ');
}

/** A file of custodians, whose passphrases can be asked for. */
export interface CustodyFlags {
  readonly custodians?: string;
}

function custody({ custodians }: CustodyFlags): Promise<Custody> {
  if (custodians === undefined) throw new UsageError('name the file of the custodians: --custodians FILE');
  return openCustody(readFileSync(custodians, 'utf8'), (have, threshold) =>
    readSecret(`Passphrase of a custodian (${have + 1} of ${threshold}): `),
  );
}

const fingerprint = (publicKey: Uint8Array): string =>
  (createHash('sha256').update(publicKey).digest('hex').match(/.{4}/g) as string[]).join(' ');

/** Shares out the PINs of a ceremony among custodians. */
export async function appoint(file: string, threshold: number, count: number, json?: boolean): Promise<void> {
  expectNew(file);
  const passphrases: string[] = [];
  while (passphrases.length < count) {
    process.stderr.write(`Custodian ${passphrases.length + 1} of ${count}\n`);
    passphrases.push(await readNewPassword(3));
  }
  writeNew(file, await appointCustodians(threshold, passphrases));
  report(json, { custodians: file, threshold, count }, () => [
    `${threshold} of the ${count} passphrases open ${file}. Keep copies of it; without it they open nothing.`,
  ]);
}

/** The profile with the PIN that custodians hold, for a token that no daemon uses. */
const heldBy = (profile: Profile, { backupPin }: Custody): Profile => ({
  ...profile,
  pin: [{ held: backupPin }],
});

/** Makes a backup token, and writes its public key to a file. */
export async function initBackup(
  flags: TokenFlags & CustodyFlags,
  out: string,
  json?: boolean,
): Promise<void> {
  expectNew(out);
  const profile = profileOf(flags);
  const custodians = await custody(flags);
  const publicKey = initializeBackupToken(heldBy(profile, custodians), custodians.backupSoPin);
  const pem = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
  writeNew(out, pem.export({ type: 'spki', format: 'pem' }));
  report(json, { backupToken: fingerprint(publicKey), publicKey: out }, () => [
    `the backup token is ${fingerprint(publicKey)}; its public key is in ${out}`,
  ]);
}

/** Tries every key of a backup in the backup token, and leaves nothing behind. */
export async function rehearse(
  flags: TokenFlags & CustodyFlags,
  file: string,
  json?: boolean,
): Promise<void> {
  const profile = heldBy(profileOf(flags), await custody(flags));
  const { created, pageKeys } = rehearseToken(profile, readFileSync(file, 'utf8'));
  report(json, { created, pageKeys }, () => [
    `the backup of ${created} is whole: the long-lived keys and ${pageKeys} page keys work in the backup token`,
  ]);
}

/** Turns the backup token into the vault's, with the PIN of its profile. */
export async function restore(flags: TokenFlags & CustodyFlags, file: string, json?: boolean): Promise<void> {
  const profile = profileOf(flags);
  if (!profile.restored)
    throw new UsageError(
      'write "restored: true" into the profile: keys that come out of a backup were not made in this token',
    );
  const pin = readPin(profile);
  const held = heldBy(profile, await custody(flags));
  const { created, pageKeys } = restoreToken(held, readFileSync(file, 'utf8'));
  changePin(held, pin);
  report(json, { created, pageKeys }, () => [
    `the backup of ${created} is restored, with ${pageKeys} page keys; each account has one attempt`,
  ]);
}

/** Prints what a token can do. Ends with exit code 1 when something is missing, 5 when something is unsafe. */
export async function doctor(flags: TokenFlags, objects: number, json?: boolean): Promise<void> {
  const profile = profileOf(flags);
  const findings = [...examine(profile, PAGE_CELLS, objects)];
  if (findings.some(({ name, result }) => name === 'session' && result === 'works'))
    findings.push(await tryThreads(profile));
  const has = (result: string) => findings.some((finding) => finding.result === result);
  report(json, { profile: profile.name, module: profile.module, findings }, () =>
    findings.map(
      ({ name, result, detail, ms }) =>
        `${result.padEnd(8)}${(ms === undefined ? '' : `${ms.toFixed(2)} ms`).padStart(12)}  ${name}${detail && `: ${detail}`}`,
    ),
  );
  endAs(has('unsafe') ? 'incomplete' : has('missing') ? 'failed' : 'done');
}

interface ShredFlags {
  readonly admin: string;
  readonly all?: boolean;
  readonly abandonLost?: boolean;
  readonly json?: boolean;
}

/** Has a running vault destroy page keys, and reports page by page. @throws UsageError */
export async function shred({ json, ...flags }: ShredFlags): Promise<void> {
  const pages: Shredded[] = [];
  const tell = json ? () => undefined : say;
  let whole = true;
  try {
    for await (const page of shredded(flags)) {
      pages.push(page);
      tell(lineOf(page));
    }
  } catch (error) {
    if (error instanceof UsageError) throw error;
    whole = false;
  }
  const lost = pages.reduce((sum, page) => sum + (page.done ? 0 : page.lost), 0);
  if (!whole || lost > 0) endAs('failed');
  report(json, { whole, lost, pages }, () => [
    ...(whole ? [] : ['the vault stopped half-way; nothing is lost, run it again']),
    ...(whole && pages.length === 0 ? ['no account has ended since the last time'] : []),
    ...(whole && lost > 0
      ? [`the database lacks ${lost} records; put them back, or give those accounts up with --abandon-lost`]
      : []),
  ]);
}

/** The vault's report on each page, as it comes. @throws UsageError when no vault answers */
async function* shredded({ admin, all = false, abandonLost = false }: ShredFlags): AsyncGenerator<Shredded> {
  const response = await fetch(new URL('/shred', `http://${admin}`), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ all, abandonLost }),
  }).catch(() => undefined);
  if (!response?.ok || !response.body)
    throw new UsageError(`no vault answers on ${admin}; name its admin address with --admin`);
  for await (const line of createInterface({ input: Readable.fromWeb(response.body as never) }))
    yield JSON.parse(line) as Shredded;
}

const lineOf = (page: Shredded): string =>
  `page ${page.page}: ${page.moved} records moved, the old key is ${page.done ? 'destroyed' : `kept for ${page.lost} lost records`}`;
