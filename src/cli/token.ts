import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { auditKey, verifyAudit } from '../audit/index.js';
import { examine, hasToken, initializeToken, loadProfile, type Profile, Token } from '../token/index.js';
import type { Shredded } from '../vault/index.js';
import { EMBEDDED_PROFILE } from './serve.js';
import { readSecret, UsageError } from './terminal.js';

type Say = (text: string) => void;

/** Where a command finds its token: a profile, or the embedded one of a data folder. */
export interface TokenFlags {
  readonly profile?: string;
  readonly data: string;
}

function profileOf({ profile, data }: TokenFlags): Profile {
  process.env.BKV_DATA = resolve(data);
  if (profile) return loadProfile(profile);
  const conf = join(resolve(data), 'softhsm2.conf');
  if (!existsSync(conf)) throw new UsageError(`${data} holds no vault; name the token with --profile FILE`);
  process.env.SOFTHSM2_CONF ??= conf;
  return loadProfile(EMBEDDED_PROFILE);
}

/** Reads an audit log through. Ends with exit code 1 when something is wrong with it. */
export async function auditVerify(flags: TokenFlags, file: string | undefined, say: Say): Promise<void> {
  const token = await Token.open({ ...profileOf(flags), sessions: 1 });
  try {
    const path = file ?? join(flags.data, 'audit.log');
    const { lines, seals, unsealed, fault, others } = await verifyAudit(path, auditKey(token));
    say(`${path}: ${lines} lines, ${seals} seals of the token, ${unsealed} lines after the last`);
    for (const { log, n } of others) say(`the token has also seen ${n} lines of another log, ${log}`);
    say(fault ?? 'it is whole');
    if (fault) process.exitCode = 1;
  } finally {
    await token.close();
  }
}

/** Makes a token and its keys, where they are missing. @throws TokenError, ProfileError */
export async function init(flags: TokenFlags, soPinFile: string | undefined, say: Say): Promise<void> {
  const profile = profileOf(flags);
  const there = hasToken(profile);
  const soPin = there
    ? ''
    : soPinFile
      ? readFileSync(soPinFile, 'utf8').trim()
      : await readSecret('PIN of the security officer, for the new token: ');
  const made = initializeToken(profile, soPin);
  const name = profile.token.label ?? profile.token.serial;
  if (!there) say(`the token "${name}" is made`);
  say(made.length > 0 ? `keys made in it: ${made.join(', ')}` : 'it has all its keys; nothing was changed');
}

/** Prints what a token can do. Ends with exit code 1 when something is missing, 5 when something is unsafe. */
export function doctor(flags: TokenFlags, objects: number, asJson: boolean, say: Say): void {
  const profile = profileOf(flags);
  const findings = examine(profile, objects);
  const has = (result: string) => findings.some((finding) => finding.result === result);
  if (asJson) say(JSON.stringify({ profile: profile.name, module: profile.module, findings }, undefined, 2));
  else
    for (const { name, result, detail, ms } of findings)
      say(
        `${result.padEnd(8)}${(ms === undefined ? '' : `${ms.toFixed(2)} ms`).padStart(12)}  ${name}${detail && `: ${detail}`}`,
      );
  process.exitCode = has('unsafe') ? 5 : has('missing') ? 1 : 0;
}

/** Has a running vault destroy wrapping keys, and tells page by page. @throws UsageError */
export async function shred(
  { admin, all = false, abandonLost = false }: { admin: string; all?: boolean; abandonLost?: boolean },
  say: Say,
): Promise<void> {
  const response = await fetch(new URL('/shred', `http://${admin}`), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ all, abandonLost }),
  }).catch(() => undefined);
  if (!response?.ok || !response.body)
    throw new UsageError(`no vault answers on ${admin}; name its admin address with --admin`);
  let pages = 0;
  let lost = 0;
  try {
    for await (const line of createInterface({ input: Readable.fromWeb(response.body as never) })) {
      const page = JSON.parse(line) as Shredded;
      pages++;
      if (page.done) say(`page ${page.page}: ${page.moved} records moved, the old key is destroyed`);
      else {
        lost += page.lost;
        say(
          `page ${page.page}: ${page.moved} records moved, the old key is kept for ${page.lost} that are lost`,
        );
      }
    }
  } catch {
    process.exitCode = 1;
    return say('the vault stopped half-way; nothing is lost, run it again');
  }
  if (pages === 0) say('no account has ended since the last time');
  if (lost === 0) return;
  process.exitCode = 1;
  say(`the database lacks ${lost} records; put them back, or give those accounts up with --abandon-lost`);
}
