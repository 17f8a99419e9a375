import { toBase64url } from '../../protocol/index.js';
import {
  type Identity,
  type Json,
  Malformed,
  parseAccount,
  parseRecovered,
  parseRecovery,
  parseRecoveryId,
  parseShare,
} from '../answers.js';
import type { Connection } from '../connection.js';
import {
  AccessTokenForAnother,
  AccessTokenUnavailable,
  DeviceTooSlow,
  KeyExists,
  Locked,
  VaultError,
  VaultIdentityMismatch,
  VersionMismatch,
  WrongPassword,
} from '../errors.js';
import { sendUntil } from '../sending-again.js';
import type { Member } from './driver.js';
import type { KeyShare, ShareMessage } from './opaque-deal.js';
import type { FirstMessage, LastMessage } from './opaque-login.js';
import type { Answer, Failure, Kind, Reply, Request } from './program.js';

interface Row<K extends Kind> {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: (request: Request<K>) => string;
  readonly body?: (request: Request<K>) => object;
  /** reads the answer's object; without it the answer is empty (204) */
  readonly parse?: (answer: Json) => Answer<K>;
  /**
   * Whether the same message may be sent again. `true`: once if the connection broke, because sending it
   * twice does no more than sending it once. Or for as long as the vault waits for it, because an attempt or
   * a share depends on it.
   */
  readonly again: boolean | 'while it is waited for';
  /**
   * whether the vault must wait long enough for this device, because it stretches the password between the
   * two messages
   */
  readonly takesTime?: true;
}

const WIRE: { readonly [K in Kind]: Row<K> } = {
  look: {
    method: 'GET',
    path: () => '/v1/account',
    parse: (answer) => {
      const { state, dealings } = parseAccount(answer);
      return { locked: state === 'locked', dealings };
    },
    again: true,
  },
  start: {
    method: 'POST',
    path: () => '/v1/recovery/start',
    body: ({ dealing, message }) => ({ dealing, KE1: toBase64url((message as FirstMessage).KE1) }),
    parse: (answer) => {
      const recoveryId = parseRecoveryId(answer);
      const { KE2, attemptsRemaining } = parseRecovery(answer);
      return { recoveryId, message: KE2, attemptsRemaining };
    },
    again: false,
    takesTime: true,
  },
  finish: {
    method: 'POST',
    path: () => '/v1/recovery/finish',
    body: ({ recoveryId, message }) => ({ recoveryId, KE3: toBase64url((message as LastMessage).KE3) }),
    parse: (answer) => {
      const { encryptedBackupKey, failedAttempts } = parseRecovered(answer);
      return { sealed: encryptedBackupKey, failedAttempts };
    },
    again: 'while it is waited for',
  },
  abandon: {
    method: 'DELETE',
    path: ({ recoveryId }) => `/v1/recovery/${recoveryId}`,
    again: true,
  },
  offer: {
    method: 'POST',
    path: () => '/v1/share/start',
    body: ({ dealing, index, message }) => ({ dealing, index, keyshare: toBase64url(message as KeyShare) }),
    parse: (answer) => {
      const { registrationId, ...message } = parseShare(answer);
      return { registrationId, message };
    },
    again: false,
    takesTime: true,
  },
  share: {
    method: 'POST',
    path: () => '/v1/share/finish',
    body: ({ registrationId, message }) => {
      const texts = Object.entries(message as ShareMessage).map(([name, value]) => [
        name,
        toBase64url(value),
      ]);
      return { registrationId, ...Object.fromEntries(texts) };
    },
    again: 'while it is waited for',
  },
  commit: {
    method: 'POST',
    path: () => '/v1/share/commit',
    body: ({ dealing }) => ({ dealing }),
    again: true,
  },
  withdraw: {
    method: 'POST',
    path: () => '/v1/share/withdraw',
    body: ({ dealing }) => ({ dealing }),
    again: true,
  },
  delete: { method: 'DELETE', path: () => '/v1/account', again: true },
};

/** Requests to one member over HTTP, and its answers as typed values: each is parsed once, here. */
export class WireMember implements Member {
  readonly #connection: Connection;
  readonly #needed: () => number;
  /** until when the member waits for the second message of an exchange, by the exchange's id */
  readonly #until = new Map<string, number>();

  /** @param needed milliseconds that this device takes between the two messages of a login */
  constructor(connection: Connection, needed: () => number) {
    this.#connection = connection;
    this.#needed = needed;
  }

  /** What the vault says of itself. @throws VaultIdentityMismatch, VaultError */
  identify(): Promise<Identity> {
    return this.#connection.identify();
  }

  async ask<K extends Kind>(kind: K, request: Request<K>): Promise<Reply<K>> {
    const row = WIRE[kind] as unknown as Row<K>;
    const began = performance.now();
    const reply = await this.#reply(row, request);
    const broke = !reply.ok && reply.failure === 'silent' && performance.now() - began < BROKE_MS;
    return row.again === true && broke ? this.#reply(row, request) : reply;
  }

  async #reply<K extends Kind>(row: Row<K>, request: Request<K>): Promise<Reply<K>> {
    try {
      if (row.takesTime) await this.#connection.expectTime(this.#needed());
      const id = exchangeOf(request);
      const until = id === undefined ? undefined : this.#until.get(id);
      if (row.again !== 'while it is waited for' || id === undefined || until === undefined)
        return { ok: true, answer: await this.#send(row, request) };
      this.#until.delete(id);
      return { ok: true, answer: await sendUntil(until, () => this.#send(row, request)) };
    } catch (error) {
      return { ok: false, ...failureOf(error) };
    }
  }

  async #send<K extends Kind>(
    { method, path, body, parse }: Row<K>,
    request: Request<K>,
  ): Promise<Answer<K>> {
    const content = body?.(request);
    if (!parse) {
      await this.#connection.command(method, path(request), content);
      return null as Answer<K>;
    }
    const began = performance.now();
    const answer = parse(await this.#connection.request(method, path(request), content));
    const id = exchangeOf(answer);
    if (id !== undefined) this.#until.set(id, began + (await this.#connection.exchangeTime()));
    return answer;
  }
}

/** The exchange that a request or an answer belongs to. */
function exchangeOf(message: unknown): string | undefined {
  const { recoveryId, registrationId } = (message ?? {}) as { recoveryId?: string; registrationId?: string };
  return recoveryId ?? registrationId;
}

/** If the connection breaks sooner than this, the request is tried a second time. */
const BROKE_MS = 1000;

/** Reasons for which this client could not ask at all: nothing was sent. */
const UNABLE = [AccessTokenUnavailable, AccessTokenForAnother, DeviceTooSlow, VersionMismatch] as const;
const REFUSALS = [Locked, WrongPassword, KeyExists] as const;

function failureOf(error: unknown): { failure: Failure; reason: string; error?: Error } {
  const reason = error instanceof Error ? error.message : String(error);
  if (!(error instanceof Error)) return { failure: 'silent', reason };
  return { failure: kindOf(error), reason, error };
}

function kindOf(error: Error): Failure {
  const isOneOf = (kinds: typeof UNABLE | typeof REFUSALS) => kinds.some((kind) => error instanceof kind);
  if (isOneOf(UNABLE)) return 'unable';
  if (isOneOf(REFUSALS)) return 'refused';
  if (error instanceof Malformed || error instanceof VaultIdentityMismatch) return 'lying';
  if (!(error instanceof VaultError)) return 'silent';
  const { status } = error;
  if (status === 0 || status >= 500 || status === 429 || status === 408) return 'silent';
  return status < 400 ? 'lying' : 'refused';
}
