import { readLogin } from '../keeper/elements/index.js';
import type { Caller, KeeperApi } from '../keeper/vault/api.js';
import { WIRE_VERSION } from '../protocol/terms.js';
import { openapi, type Route } from './openapi.js';
import * as schemas from './schemas.js';

interface Call {
  readonly keeper: KeeperApi;
  readonly caller: Caller;
  readonly body: Record<string, string>;
  readonly params: Record<string, string>;
}
/** `handle` resolves to what is answered as JSON; `undefined` is 204. */
export type Endpoint = Route & { readonly handle: (call: Call) => Promise<object | undefined> };

const decode = (text: string | undefined): Uint8Array => Buffer.from(text as string, 'base64url');
const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');

/** The API, row by row. */
export const endpoints: readonly Endpoint[] = [
  {
    method: 'get',
    path: '/v1/identity',
    operation: 'identity',
    summary: "The vault's static public key, for clients to pin",
    authenticated: false,
    answer: schemas.Identity,
    errors: [429, 503],
    handle: async ({ keeper }) => {
      const { serverPublicKey, maxAttempts, exchangeSeconds } = await keeper.identity();
      return {
        serverPublicKey: encode(serverPublicKey),
        suite: 'P256-SHA256',
        wireVersion: WIRE_VERSION,
        maxAttempts,
        exchangeSeconds,
      };
    },
  },
  {
    method: 'get',
    path: '/v1/account',
    operation: 'status',
    summary: 'Whether the account has a key, and how many wrong passwords are left',
    authenticated: true,
    answer: schemas.Status,
    errors: [401, 429, 503],
    handle: ({ keeper, caller }) => keeper.status({ caller }),
  },
  {
    method: 'delete',
    path: '/v1/account',
    operation: 'delete',
    summary: "Makes the account's key unreachable for ever",
    authenticated: true,
    errors: [401, 429, 503],
    handle: ({ keeper, caller }) => keeper.delete({ caller }),
  },
  {
    method: 'post',
    path: '/v1/registration/start',
    operation: 'registrationStart',
    summary: 'First message of a registration (RFC 9807, section 5.2)',
    authenticated: true,
    body: schemas.RegistrationStart,
    answer: schemas.RegistrationStarted,
    errors: [400, 401, 413, 429, 503],
    handle: async ({ keeper, caller, body }) => {
      const { registrationResponse, mac, ...started } = await keeper.startRegistration({
        caller,
        registrationRequest: decode(body.registrationRequest),
        ...(body.keyshare !== undefined && { keyshare: decode(body.keyshare) }),
      });
      return {
        ...started,
        registrationResponse: encode(registrationResponse),
        ...(mac && { mac: encode(mac) }),
      };
    },
  },
  {
    method: 'post',
    path: '/v1/registration/finish',
    operation: 'registrationFinish',
    summary: 'Last message of a registration: replaces what the account had, if that may be lost',
    authenticated: true,
    follows: true,
    body: schemas.RegistrationFinish,
    errors: [400, 401, 404, 409, 410, 413, 429, 503],
    handle: ({ keeper, caller, body }) =>
      keeper.finishRegistration({
        caller,
        registrationId: body.registrationId as string,
        registrationRecord: decode(body.registrationRecord),
        encryptedBackupKey: decode(body.encryptedBackupKey),
        ...((body.replace as unknown) === true && { replace: true }),
        ...(body.mac !== undefined && { mac: decode(body.mac) }),
      }),
  },
  {
    method: 'post',
    path: '/v1/share/start',
    operation: 'shareStart',
    summary: "First message of the registration of a share of a fleet's key",
    authenticated: true,
    body: schemas.ShareStart,
    answer: schemas.ShareStarted,
    errors: [400, 401, 413, 429, 503],
    handle: async ({ keeper, caller, body }) => {
      const { transportKey, mac, ...started } = await keeper.startShare({
        caller,
        dealing: body.dealing as string,
        index: Number(body.index),
        keyshare: decode(body.keyshare),
      });
      return { ...started, transportKey: encode(transportKey), mac: encode(mac) };
    },
  },
  {
    method: 'post',
    path: '/v1/share/finish',
    operation: 'shareFinish',
    summary: "Last message: keeps the share beside the account's older keys",
    authenticated: true,
    follows: true,
    body: schemas.ShareFinish,
    errors: [400, 401, 404, 409, 410, 413, 429, 503],
    handle: ({ keeper, caller, body }) =>
      keeper.finishShare({
        caller,
        registrationId: body.registrationId as string,
        sharePublicKey: decode(body.sharePublicKey),
        wrappedShare: decode(body.wrappedShare),
        registrationRecord: decode(body.registrationRecord),
        encryptedBackupKey: decode(body.encryptedBackupKey),
        mac: decode(body.mac),
      }),
  },
  {
    method: 'post',
    path: '/v1/share/commit',
    operation: 'shareCommit',
    summary: 'Ends every other key of the account, once a password was proven against this dealing',
    authenticated: true,
    follows: true,
    body: schemas.ShareCommit,
    errors: [400, 401, 404, 409, 413, 429, 503],
    handle: ({ keeper, caller, body }) => keeper.commitDealing({ caller, dealing: body.dealing as string }),
  },
  {
    method: 'post',
    path: '/v1/share/withdraw',
    operation: 'shareWithdraw',
    summary: 'Ends a dealing against which nobody has proven a password',
    authenticated: true,
    follows: true,
    body: schemas.ShareWithdraw,
    errors: [400, 401, 404, 409, 413, 429, 503],
    handle: ({ keeper, caller, body }) => keeper.withdrawDealing({ caller, dealing: body.dealing as string }),
  },
  {
    method: 'post',
    path: '/v1/recovery/start',
    operation: 'recoveryStart',
    summary: 'Spends an attempt and answers KE1 with KE2 (RFC 9807, section 6)',
    authenticated: true,
    body: schemas.RecoveryStart,
    answer: schemas.RecoveryStarted,
    errors: [400, 401, 404, 413, 423, 429, 503],
    handle: async ({ keeper, caller, body }) => {
      const { KE1, dealing } = body;
      const { recoveryId, KE2, attemptsRemaining } = await keeper.startRecovery({
        caller,
        ...readLogin(decode(KE1)),
        ...(dealing !== undefined && { dealing }),
      });
      return { recoveryId, KE2: encode(KE2), attemptsRemaining };
    },
  },
  {
    method: 'post',
    path: '/v1/recovery/finish',
    operation: 'recoveryFinish',
    summary: 'Gives the attempts back and the encrypted key out, if KE3 proves the password',
    authenticated: true,
    follows: true,
    body: schemas.RecoveryFinish,
    answer: schemas.RecoveryFinished,
    errors: [400, 401, 403, 404, 410, 413, 429, 503],
    handle: async ({ keeper, caller, body }) => {
      const { encryptedBackupKey, failedAttempts } = await keeper.finishRecovery({
        caller,
        recoveryId: body.recoveryId as string,
        KE3: decode(body.KE3),
      });
      return { encryptedBackupKey: encode(encryptedBackupKey), failedAttempts };
    },
  },
  {
    method: 'delete',
    path: '/v1/recovery/:recoveryId',
    operation: 'recoveryAbandon',
    summary: 'Ends a recovery whose password was wrong; the attempt stays spent',
    authenticated: true,
    follows: true,
    errors: [400, 401, 404, 410, 429, 503],
    handle: ({ keeper, caller, params }) =>
      keeper.abandonRecovery({ caller, recoveryId: params.recoveryId as string }),
  },
];

/** The API's description as OpenAPI 3.1. */
export const description = (version: string): object => openapi(endpoints, version);
