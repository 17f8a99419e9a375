import { existsSync, readFileSync } from 'node:fs';
import { isSeq } from 'yaml';
import {
  type Check,
  checkYaml,
  field,
  fields,
  flag,
  integer,
  list,
  number,
  oneOf,
  optional,
  text,
  withDefault,
} from '../../config/check.js';
import { ProfileError } from './errors.js';

const pinSource: Check<PinFile> = (node, place) => {
  const source = fields({ file: optional(text), env: optional(text), credential: optional(text) })(
    node,
    place,
  );
  const given = Object.entries(source).filter(([, value]) => value !== undefined);
  if (given.length !== 1) place.fault('must name one of file, env, credential', node);
  return Object.fromEntries(given) as unknown as PinFile;
};

const tokenName: Check<TokenName> = (node, place) => {
  const name = fields({ label: optional(text), serial: optional(text) })(node, place);
  if (name.label === undefined && name.serial === undefined) place.fault('needs a label or a serial', node);
  return Object.fromEntries(Object.entries(name).filter(([, value]) => value !== undefined));
};

/** One path, or several, of which the first that exists is used. */
const module: Check<readonly string[]> = (node, place) =>
  isSeq(node) ? list(text, 1)(node, place) : [text(node, place)];

/** Small tokens take objects of this size. */
const OBJECT_BYTES = 4096;

/** A profile, field by field; docs/config.md is made from it. */
export const profileFields = fields({
  name: field(text, 'what messages call the token'),
  module: field(module, 'path of the PKCS#11 module, or several of which the first that exists is taken'),
  token: field(tokenName, 'the token: its `label`, its `serial`, or both'),
  standby: field(
    withDefault(list(tokenName), []),
    'tokens of the same cluster, to which the vendor copies every object: used while the first is away',
  ),
  spread: field(withDefault(flag, false), 'whether evaluations run on the standby tokens too'),
  slot: field(
    optional(integer(0)),
    'the slot, if label and serial do not tell tokens apart, and where a new token is made: its place in the list of slots that have a token (C_GetSlotList), counted from 0, and not its ID',
  ),
  keyWrap: field(
    optional(integer(0)),
    "the vendor's mechanism for RFC 5649, if it is neither CKM_AES_KEY_WRAP_KWP nor CKM_AES_KEY_WRAP_PAD",
  ),
  pin: field(
    list(pinSource, 1),
    'where the user PIN is: `file`, `env` or systemd `credential`; the first that exists is read',
  ),
  restored: field(withDefault(flag, false), 'true if the keys came out of a backup of another token'),
  requireNonExportable: field(
    withDefault(flag, false),
    'whether the daemon refuses a token whose keys can be taken away by whoever has the PIN',
  ),
  sessions: field(withDefault(integer(1, 256), 3), 'threads that call the module, each with one session'),
  callTimeout: field(withDefault(number(1, 600), 60), 'seconds until a call into the module counts as hung'),
  renewAfter: field(
    optional(integer(100)),
    'evaluations after which the module is loaded again, for a module that never frees session objects',
  ),
  initialize: field(
    optional(text),
    'parameters of the library for C_Initialize (LibraryParameters), as NSS wants them',
  ),
  objectBytes: field(
    withDefault(integer(512, 65_536), OBJECT_BYTES),
    'most bytes that a data object of the token can hold: the pages of the retry counters are made no larger',
  ),
  files: field(
    optional(oneOf('softhsm2')),
    'the module keeps objects in files as SoftHSM2 does: what is written is synced to the disk',
  ),
});

type PinFile = { readonly file: string } | { readonly env: string } | { readonly credential: string };

/** The last kind, a PIN that custodians hold, is never read from a file. */
export type PinSource = PinFile | { readonly held: string };

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
  /** place in the list of slots with a token, from 0 */
  readonly slot?: number;
  /** the vendor's mechanism for RFC 5649, if it is neither CKM_AES_KEY_WRAP_KWP nor CKM_AES_KEY_WRAP_PAD */
  readonly keyWrap?: number;
  readonly pin: readonly PinSource[];
  /**
   * whether the token's keys came out of a backup: then the token cannot vouch that they were never outside
   */
  readonly restored: boolean;
  /** whether the daemon refuses a token from which whoever has the PIN can take keys away */
  readonly requireNonExportable: boolean;
  /** worker threads, each with one session */
  readonly sessions: number;
  /** seconds until a call into the module counts as hung */
  readonly callTimeout: number;
  /**
   * evaluations after which the module is initialized again, for a module that never frees session objects
   */
  readonly renewAfter?: number;
  /** LibraryParameters of C_Initialize, as NSS wants them */
  readonly initialize?: string;
  /** most bytes that a data object of the token can hold */
  readonly objectBytes: number;
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
  let source: string;
  try {
    source = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ProfileError(
      `${path}: cannot be read (${(error as NodeJS.ErrnoException).code}). Name a file of hsm-config/.`,
    );
  }
  const { module, slot, keyWrap, renewAfter, initialize, files, ...rest } = checkYaml(
    source,
    path,
    profileFields,
    (faults) => {
      throw new ProfileError(faults);
    },
  );
  const candidates = module.map((candidate) => expand(candidate, path));
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
    ...(slot === undefined ? {} : { slot }),
    ...(keyWrap === undefined ? {} : { keyWrap }),
    ...(renewAfter === undefined ? {} : { renewAfter }),
    ...(initialize === undefined ? {} : { initialize }),
    ...(files === undefined ? {} : { files }),
  };
}
