import {
  isElement,
  MOST_ATTEMPTS,
  MOST_DEALINGS,
  MOST_EXCHANGE_SECONDS,
  parseBase64url,
  SIZES,
  said,
  WIRE_VERSION,
} from '../protocol/index.js';
import { type BkvError, KeyExists, Locked, VaultError, VersionMismatch, WrongPassword } from './errors.js';

/**
 * What a vault answers. It may lie, and so may whoever is in between. So each answer is parsed once, here,
 * into values that keep to docs/protocol.md.
 */

/** The object of a JSON answer. */
export type Json = Record<string, unknown>;

/** What came is not an answer to the request. */
export class Malformed extends VaultError {
  constructor(what: string) {
    super(200, `this is not a vault's answer: ${what}`);
  }
}

const MOST_SEALED = 512;

const fail = (what: string): never => {
  throw new Malformed(what);
};

/** @throws Malformed */
export function bytes(name: string, value: unknown, min: number, max = min): Uint8Array {
  const parsed = parseBase64url(value) ?? fail(`${name} is not base64url`);
  if (parsed.length < min || parsed.length > max)
    fail(`${name} does not have ${min === max ? min : `${min} to ${max}`} bytes`);
  return parsed;
}

const point = (name: string, value: unknown): Uint8Array => {
  const parsed = bytes(name, value, SIZES.element);
  return isElement(parsed) ? parsed : fail(`${name} is not a point of the curve`);
};

const isWhole = (value: unknown, min: number, max: number): value is number =>
  Number.isInteger(value) && (value as number) >= min && (value as number) <= max;

const integer = (name: string, value: unknown, min: number, max: number): number =>
  isWhole(value, min, max) ? value : fail(`${name} is not a whole number from ${min} to ${max}`);

/** An exchange's id, which the client sends back as it came: 16 bytes. */
const id = (name: string, value: unknown): string =>
  typeof value === 'string' && /^[\w-]{22}$/.test(value) ? value : fail(`${name} is not an id`);

/** Who a vault says it is. */
export interface Identity {
  /** 33 bytes */
  readonly serverPublicKey: Uint8Array;
  /** how many milliseconds the vault waits for the second message of an exchange: an hour at most */
  readonly exchangeTime: number;
}

/** @throws Malformed, VersionMismatch */
export function parseIdentity({ serverPublicKey, wireVersion, exchangeSeconds }: Json): Identity {
  const version = integer('wireVersion', wireVersion, 1, 255);
  if (version !== WIRE_VERSION) throw new VersionMismatch(version, WIRE_VERSION);
  return {
    serverPublicKey: point('serverPublicKey', serverPublicKey),
    exchangeTime: integer('exchangeSeconds', exchangeSeconds, 1, MOST_EXCHANGE_SECONDS) * 1000,
  };
}

const STATES = ['unregistered', 'registered', 'locked'] as const;

/** What a vault holds for the account. @throws Malformed */
export function parseAccount({ state, maxAttempts, dealings = [] }: Json) {
  const known = STATES.find((one) => one === state) ?? fail('state is not a known one');
  if (!Array.isArray(dealings) || dealings.length > MOST_DEALINGS)
    return fail('dealings is not a short list');
  const limit = dealings.length > 0 ? integer('maxAttempts', maxAttempts, 1, MOST_ATTEMPTS) : 0;
  const held = dealings.map((one: Json) => parseDealing(one ?? {}, limit));
  if (new Set(held.map(({ dealing }) => dealing)).size < held.length) fail('a dealing is named twice');
  return { state: known, dealings: held };
}

/** How many wrong passwords are left. @throws Malformed */
export const parseAttempts = ({ attemptsRemaining }: Json): number =>
  integer('attemptsRemaining', attemptsRemaining, 0, MOST_ATTEMPTS);

function parseDealing({ dealing, proven, attemptsRemaining }: Json, limit: number) {
  // A key of the vault's own has an empty name.
  if (typeof dealing !== 'string' || !/^([0-9a-f]{32})?$/.test(dealing)) return fail('a dealing has no name');
  if (typeof proven !== 'boolean') return fail('proven is not true or false');
  const left = integer('attemptsRemaining', attemptsRemaining, 0, limit);
  return { dealing, proven, attemptsRemaining: left, full: left === limit };
}

/** How a vault answers the start of a registration. */
interface Offer {
  readonly registrationId: string;
  /** wrong passwords until the account is locked */
  readonly limit: number;
}
interface OwnOffer extends Offer {
  /** evaluated element ‖ the vault's public key, 66 bytes */
  readonly registrationResponse: Uint8Array;
  /** 32 bytes; plain clients of RFC 9807 are answered without one */
  readonly mac: Uint8Array | undefined;
}
interface ShareOffer extends Offer {
  /** 33 bytes */
  readonly transportKey: Uint8Array;
  /** 32 bytes */
  readonly mac: Uint8Array;
}

/** The start of a registration of a key of the vault's own. @throws Malformed */
export function parseRegistration({ registrationId, registrationResponse, limit, mac }: Json): OwnOffer {
  const response = bytes('registrationResponse', registrationResponse, SIZES.registrationResponse);
  if (!isElement(response.subarray(0, SIZES.element))) fail('the evaluation is not a point of the curve');
  return {
    ...parseOffer({ registrationId, limit }),
    registrationResponse: response,
    mac: mac === undefined ? undefined : bytes('mac', mac, SIZES.mac),
  };
}

const parseOffer = ({ registrationId, limit }: Json): Offer => ({
  registrationId: id('registrationId', registrationId),
  limit: integer('limit', limit, 1, MOST_ATTEMPTS),
});

/** The start of a registration of a share. @throws Malformed */
export function parseShare({ transportKey, mac, ...offer }: Json): ShareOffer {
  return {
    ...parseOffer(offer),
    transportKey: point('transportKey', transportKey),
    mac: bytes('mac', mac, SIZES.mac),
  };
}

/** Which recovery was started: enough to end it, whatever else the answer says. @throws Malformed */
export const parseRecoveryId = ({ recoveryId }: Json): string => id('recoveryId', recoveryId);

/** How a vault answers the start of a recovery. */
export interface Evaluated {
  /** 259 bytes, with every element checked to be one */
  readonly KE2: Uint8Array;
  readonly attemptsRemaining: number;
}

/** @throws Malformed */
export function parseRecovery({ KE2, ...answer }: Json): Evaluated {
  const message = bytes('KE2', KE2, SIZES.KE2);
  const keyshare = SIZES.KE2 - SIZES.mac - SIZES.element;
  for (const at of [0, keyshare])
    if (!isElement(message.subarray(at, at + SIZES.element))) fail('KE2 has no point where it must have one');
  return { KE2: message, attemptsRemaining: parseAttempts(answer) };
}

/** How a vault answers the end of a recovery. */
interface Recovered {
  readonly encryptedBackupKey: Uint8Array;
  readonly failedAttempts: number;
}

/** A vault of an older version does not say how many attempts failed. @throws Malformed */
export function parseRecovered({ encryptedBackupKey, failedAttempts = 0 }: Json): Recovered {
  return {
    encryptedBackupKey: bytes('encryptedBackupKey', encryptedBackupKey, 1, MOST_SEALED),
    failedAttempts: integer('failedAttempts', failedAttempts, 0, MOST_ATTEMPTS),
  };
}

const PROBLEM = /^urn:bkv:problem:([a-z-]{1,40})$/;

/**
 * The error for a refusal, by its problem document (RFC 9457). Nothing else may say that an account is
 * locked.
 */
export function refusalOf({ status, headers }: Response, problem: Json = {}): BkvError {
  const [, kind] = PROBLEM.exec(String(problem.type ?? '')) ?? [];
  const { attemptsRemaining } = problem;
  if (kind === 'locked') return new Locked();
  if (kind === 'key-exists') return new KeyExists();
  if (kind === 'wrong-password')
    return isWhole(attemptsRemaining, 0, MOST_ATTEMPTS)
      ? new WrongPassword(attemptsRemaining)
      : new Malformed('it does not say how many attempts remain');
  const detail = typeof problem.detail === 'string' ? said(problem.detail) : undefined;
  return new VaultError(status, detail ?? `the vault answered ${status}`, {
    kind,
    retryAfter: retryAfter(headers),
  });
}

/** The header's seconds in milliseconds. */
function retryAfter(headers: Headers): number | undefined {
  const seconds = headers.get('retry-after') ?? '';
  return /^\d{1,6}$/.test(seconds) ? Number(seconds) * 1000 : undefined;
}
