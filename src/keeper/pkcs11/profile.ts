import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Document, parseDocument } from 'yaml';
import { z } from 'zod';
import { ProfileError } from './errors.js';

const pinSource = z.union([
  z.strictObject({ file: z.string() }),
  z.strictObject({ env: z.string() }),
  z.strictObject({ credential: z.string() }),
]);

const tokenName = z
  .strictObject({ label: z.string().optional(), serial: z.string().optional() })
  .refine((t) => t.label ?? t.serial, 'needs a label or a serial');

const profileSchema = z.strictObject({
  name: z.string(),
  module: z.union([z.string(), z.array(z.string()).nonempty()]),
  token: tokenName,
  standby: z.array(tokenName).default([]),
  spread: z.boolean().default(false),
  slot: z.int().min(0).optional(),
  keyWrap: z.int().min(0).optional(),
  pin: z.array(pinSource).nonempty(),
  restored: z.boolean().default(false),
  sessions: z.int().min(1).max(256).default(3),
  callTimeout: z.number().min(1).max(600).default(60),
  renewAfter: z.int().min(100).optional(),
  files: z.literal('softhsm2').optional(),
});

/** The last kind is never read from a file: a PIN that custodians hold. */
export type PinSource = z.infer<typeof pinSource> | { readonly held: string };

export interface TokenName {
  readonly label?: string;
  readonly serial?: string;
}

/** How to reach one token: a PKCS#11 module, a token in it, and where its PIN is kept. */
export interface Profile {
  readonly name: string;
  /** path of the module (shared object) */
  readonly module: string;
  readonly token: TokenName;
  /** tokens of the same cluster, to which the vendor copies every object: used while the first is away */
  readonly standby: readonly TokenName[];
  /** whether evaluations run on the standby tokens too, while the first one is there */
  readonly spread: boolean;
  readonly slot?: number;
  /** the vendor's mechanism for RFC 5649, where it is neither CKM_AES_KEY_WRAP_KWP nor CKM_AES_KEY_WRAP_PAD */
  readonly keyWrap?: number;
  readonly pin: readonly PinSource[];
  /** whether the token's keys came out of a backup: it then cannot vouch that they were never outside */
  readonly restored: boolean;
  /** worker threads, each with one session */
  readonly sessions: number;
  /** seconds until a call into the module counts as hung */
  readonly callTimeout: number;
  /** evaluations after which the module is initialized anew, for one that never frees the objects of a session */
  readonly renewAfter?: number;
  /** a software token keeps its objects in files as SoftHSM2 does: what is written there is synced */
  readonly files?: 'softhsm2';
}

const expand = (text: string, path: string): string =>
  text.replace(/\$\{(\w+)\}/g, (_, name: string) => {
    const value = process.env[name];
    if (value === undefined) throw new ProfileError(`${path}: \${${name}} is not set in the environment`);
    return value;
  });

/** Reads a profile of `hsm-config/`. @throws ProfileError naming the file, the line and the field */
export function loadProfile(path: string): Profile {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ProfileError(
      `${path}: cannot be read (${(error as NodeJS.ErrnoException).code}). Name a file of hsm-config/.`,
    );
  }
  const document = parseDocument(text);
  const syntax = document.errors[0];
  if (syntax) throw new ProfileError(`${path}: ${syntax.message}`);
  const parsed = profileSchema.safeParse(document.toJS());
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const unknown = issue?.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
    const field = [...(issue?.path ?? []), ...unknown];
    throw new ProfileError(`${path}:${lineOf(document, text, field)}: ${field.join('.')}: ${issue?.message}`);
  }
  const { module, token, standby, slot, keyWrap, renewAfter, files, ...rest } = parsed.data;
  const candidates = [module].flat().map((candidate) => expand(candidate, path));
  const found = candidates.find((candidate) => existsSync(candidate));
  if (!found) {
    throw new ProfileError(
      `${path}: no PKCS#11 module at ${candidates.join(' or ')}. Install it, or correct "module".`,
    );
  }
  return {
    ...rest,
    pin: rest.pin.map((source) => ('file' in source ? { file: expand(source.file, path) } : source)),
    module: found,
    token: token as TokenName,
    standby: standby as TokenName[],
    ...(slot === undefined ? {} : { slot }),
    ...(keyWrap === undefined ? {} : { keyWrap }),
    ...(renewAfter === undefined ? {} : { renewAfter }),
    ...(files === undefined ? {} : { files }),
  };
}

/** The line of a field, or of what it is missing in. */
function lineOf(document: Document, text: string, field: readonly PropertyKey[]): number {
  for (let path = [...field]; path.length > 0; path = path.slice(0, -1)) {
    const node = document.getIn(path, true) as { range?: [number, number, number] } | undefined;
    if (node?.range) return text.slice(0, node.range[0]).split('\n').length;
  }
  return 1;
}

/** Whether one of the profile's sources has a PIN. @throws ProfileError when others can read it */
export const hasPin = (profile: Profile): boolean => Boolean(lookForPin(profile));

/** Reads the user PIN from the first of the profile's sources that exists. @throws ProfileError */
export function readPin(profile: Profile): string {
  const pin = lookForPin(profile);
  if (pin) return pin;
  const tried = profile.pin.map((source) => Object.entries(source)[0]?.join(' ')).join(', ');
  throw new ProfileError(`${profile.name}: no PIN found (looked for ${tried})`);
}

function lookForPin(profile: Profile): string | undefined {
  for (const source of profile.pin) {
    if ('held' in source) return source.held;
    if ('env' in source) {
      const pin = process.env[source.env];
      if (pin) return pin;
      continue;
    }
    const path =
      'file' in source
        ? source.file
        : process.env.CREDENTIALS_DIRECTORY && join(process.env.CREDENTIALS_DIRECTORY, source.credential);
    if (!path || !existsSync(path)) continue;
    if (statSync(path).mode & 0o077) {
      throw new ProfileError(`${path}: others can read this PIN file. Run: chmod 600 ${path}`);
    }
    return readFileSync(path, 'utf8').trim();
  }
  return undefined;
}
