import { z } from 'zod';
import { CodedError, MOST_EXCHANGE_SECONDS, SIZES, WIRE_VERSION } from '../protocol/terms.js';

/** base64url without padding, of an exact length in bytes or of a range. */
const base64url = (description: string, min: number, max = min) => {
  const size = `${min === max ? min : `${min} to ${max}`} bytes, base64url`;
  return z
    .string()
    .regex(/^[A-Za-z0-9_-]*$/, 'must be base64url without padding')
    .min(Math.ceil((min * 4) / 3), `must be ${size}`)
    .max(Math.ceil((max * 4) / 3), `must be ${size}`)
    .describe(`${description}; ${size}`);
};

const attemptsRemaining = z.int().min(0).describe('wrong passwords that are still allowed');
const exchangeId = z
  .string()
  .regex(/^[A-Za-z0-9_-]{22}$/, 'must be an id that the vault gave')
  .describe('names this exchange; 16 bytes, base64url');

const dealing = z
  .string()
  .regex(/^[0-9a-f]{32}$/, 'must be 32 hexadecimal digits')
  .describe('names a dealing of shares: 8 digits of a growing count, 8 of the fleet, 16 random');

export const Identity = z.strictObject({
  serverPublicKey: base64url("the vault's static public key, to be pinned", SIZES.element),
  suite: z.literal('P256-SHA256').describe('P256-SHA256'),
  wireVersion: z.literal(WIRE_VERSION).describe('version of the wire protocol: docs/protocol.md'),
  maxAttempts: z
    .int()
    .min(1)
    .describe('wrong passwords until a key becomes unreachable, for keys that are registered now'),
  exchangeSeconds: z
    .int()
    .min(1)
    .max(MOST_EXCHANGE_SECONDS)
    .describe('how long the vault waits for the second message of an exchange'),
});
export const Status = z.strictObject({
  state: z.enum(['unregistered', 'registered', 'locked']).describe('unregistered, registered or locked'),
  attemptsRemaining: attemptsRemaining.optional(),
  maxAttempts: z.int().min(1).optional().describe('wrong passwords until it is locked'),
  dealings: z
    .array(
      z.strictObject({
        dealing: z.string().describe('32 hexadecimal digits; empty for a key that the vault made'),
        proven: z.boolean().describe('whether a password was proven against it here'),
        attemptsRemaining,
      }),
    )
    .optional()
    .describe('what the account has here, newest first'),
});
export const RegistrationStart = z.strictObject({
  registrationRequest: base64url('blindedElement', SIZES.registrationRequest),
  keyshare: base64url(
    'X, a fresh key share; a plain RFC 9807 client leaves it out, and then only TLS protects the registration',
    SIZES.element,
  ).optional(),
});
export const RegistrationStarted = z.strictObject({
  registrationId: exchangeId,
  registrationResponse: base64url('evaluatedElement and serverPublicKey', SIZES.registrationResponse),
  limit: z.int().min(1).describe('wrong passwords until the account is locked'),
  mac: base64url('start MAC, for a client that sent a key share', SIZES.mac).optional(),
});
export const RegistrationFinish = z.strictObject({
  registrationId: exchangeId,
  registrationRecord: base64url('clientPublicKey, maskingKey and envelope', SIZES.registrationRecord),
  encryptedBackupKey: base64url('the backup key, encrypted under a key made from the export key', 1, 512),
  replace: z
    .boolean()
    .optional()
    .describe('true gives up the key that the account may have; otherwise such a registration is refused'),
  mac: base64url('finish MAC, of a client that sent a key share', SIZES.mac).optional(),
});
export const ShareStart = z.strictObject({
  dealing,
  index: z.int().min(1).max(255).describe('index of the share'),
  keyshare: base64url('X, a fresh key share', SIZES.element),
});
export const ShareStarted = z.strictObject({
  registrationId: exchangeId,
  transportKey: base64url('E, which the share travels under', SIZES.element),
  limit: z.int().min(1).describe('wrong passwords until the account is locked'),
  mac: base64url('start MAC', SIZES.mac),
});
export const ShareFinish = z.strictObject({
  registrationId: exchangeId,
  sharePublicKey: base64url('share·G', SIZES.element),
  wrappedShare: base64url('PKCS#8 of the share under x(X·E), RFC 5649', 80),
  registrationRecord: base64url('clientPublicKey, maskingKey and envelope', SIZES.registrationRecord),
  encryptedBackupKey: base64url('the backup key, encrypted under a key made from the export key', 1, 512),
  mac: base64url('finish MAC', SIZES.mac),
});
export const ShareCommit = z.strictObject({ dealing });
export const ShareWithdraw = z.strictObject({ dealing });
export const RecoveryStart = z.strictObject({
  KE1: base64url('KE1', SIZES.KE1),
  dealing: dealing.optional(),
});
export const RecoveryStarted = z.strictObject({
  recoveryId: exchangeId,
  KE2: base64url('KE2', SIZES.KE2),
  attemptsRemaining,
});
export const RecoveryFinish = z.strictObject({ recoveryId: exchangeId, KE3: base64url('KE3', SIZES.KE3) });
export const RecoveryFinished = z.strictObject({
  encryptedBackupKey: base64url('as it was registered', 1, 512),
  failedAttempts: z.int().min(0).describe('attempts that have failed since the last proof'),
});
export const Problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  attemptsRemaining: attemptsRemaining.optional(),
});

export const ShredOptions = z.strictObject({
  all: z.boolean().default(false),
  abandonLost: z.boolean().default(false),
});

/** @throws CodedError invalid-request naming the field */
export function validate<S extends z.ZodType>(schema: S, body: unknown): z.infer<S> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new CodedError('invalid-request', `${issue?.path.join('.') || 'body'}: ${issue?.message}`);
}
