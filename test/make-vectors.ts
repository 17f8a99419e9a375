/** Makes the vectors of docs/protocol.md in test/vectors, as JSON. Run by `npm run vectors`; a test compares. */
import { createCipheriv, hkdfSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { p256 } from '@noble/curves/nist.js';
import { argon2, preparePassword } from '../src/client/index.js';
import { stretchOutput } from '../src/client/stretching.js';
import * as unicode from '../src/client/unicode.js';
import {
  audienceOf,
  createRegistrationRequest,
  deriveKeyPair,
  diffieHellman,
  finalizeRegistration,
  finishMac,
  generateKE1,
  generateKE2,
  generateKE3,
  identities,
  randomizePassword,
  registrationKeys,
  startMac,
  xOf,
} from '../src/protocol/index.js';
import { randomStream } from './support/random.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

/** The random bytes r from which noble makes a wanted scalar: it takes (r mod (n-1)) + 1. */
const forScalar =
  (scalar: Uint8Array) =>
  (n = 48): Uint8Array =>
    Buffer.from((BigInt(`0x${hex(scalar)}`) - 1n).toString(16).padStart(2 * n, '0'), 'hex');

const stretch = stretchOutput(argon2);

const TAKEN = [
  'correct horse battery staple',
  'Correct Horse Battery Staple',
  'πßå',
  'Jack of ♦s',
  'foo\u1680bar',
  'foo\u3000bar',
  'e\u0301',
  '\u212b',
  '🔑',
  'می‌خواهم',
  'क्‍ष',
  'l·l',
  '\u0375α',
  'ג׳',
  'ア・イ',
  '٣٤',
  '❤\ufe0f',
  '1\ufe0f\u20e3',
  '👩🏽‍❤\ufe0f‍💋‍👨🏿',
  '👨‍👩‍👧',
  '🏴󠁧󠁢󠁥󠁮󠁧󠁿',
  '葛\u{e0100}',
  '\u{105d2}\u0307',
  '\u{1fae9}',
  '\u0378',
  'x'.repeat(1024),
];
const REFUSED = [
  '',
  '\ufe0f',
  'my cat is a \tby',
  'a\u200bb',
  'a\u200fb',
  '\ud800',
  '\u{e0001}',
  '\uffff',
  '\ue000',
  '\u2028',
  'a\u200db',
  'a\u200cb',
  '👨\u200d',
  '\u200d👨',
  'a·b',
  '\u0375a',
  'a׳',
  'x・y',
  '٣۴',
  '🏴󠁧󠁢',
  'ـ',
  'x'.repeat(1025),
  'é'.repeat(513),
];

const codeOf = (typed: string): string => {
  try {
    preparePassword(typed);
  } catch (error) {
    return (error as { code: string }).code;
  }
  throw new Error(`${JSON.stringify(typed)} is taken`);
};

const password = () => ({
  taken: TAKEN.map((typed) => ({ typed, prepared: hex(preparePassword(typed)) })),
  refused: REFUSED.map((typed) => ({ typed, code: codeOf(typed) })),
});

/** Each table as ranges of hexadecimal code points, the last one included. */
const codePoints = () =>
  Object.fromEntries(
    Object.entries({
      assigned: unicode.ASSIGNED,
      disallowed: unicode.DISALLOWED,
      virama: unicode.VIRAMA,
      joinsNext: unicode.JOINS_NEXT,
      joinsLast: unicode.JOINS_LAST,
      transparent: unicode.TRANSPARENT,
      greek: unicode.GREEK,
      hebrew: unicode.HEBREW,
      japanese: unicode.JAPANESE,
      pictograph: unicode.PICTOGRAPH,
    }).map(([name, table]) => {
      const bounds = table();
      const ranges = Array.from({ length: bounds.length / 2 }, (_, i) =>
        [bounds[2 * i] as number, (bounds[2 * i + 1] as number) - 1].map((n) => n.toString(16)).join('-'),
      );
      return [name, ranges.join(' ')];
    }),
  );

const stretching = async () =>
  Promise.all(
    ['00'.repeat(32), '0f'.repeat(32)].map(async (input) => ({
      input,
      output: hex(await stretch(Buffer.from(input, 'hex'))),
    })),
  );

/** What the rows of the tables in docs/protocol.md come to: each field behind its length. */
const fields = (...all: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat(all.flatMap((field) => [Uint8Array.of(field.length >> 8, field.length & 255), field]));

function sealed(exportKey: Uint8Array, nonce: Uint8Array, backupKey: Uint8Array) {
  const key = new Uint8Array(
    hkdfSync('sha256', exportKey, new Uint8Array(0), 'bkv encrypted backup key v1', 32),
  );
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  const encrypted = Buffer.concat([nonce, cipher.update(backupKey), cipher.final(), cipher.getAuthTag()]);
  return { keyEncryptionKey: hex(key), encryptedBackupKey: encrypted };
}

/** One vault, one account: registration, and the login that follows. All secrets are given, the vault's too. */
async function account(name: string, typed: string) {
  const random = randomStream(`vectors ${name}`);
  const scalar = () => deriveKeyPair(random(32));
  const [vault, oprfKey, keyshare, blind, loginBlind, serverKeyshare] = Array.from({ length: 6 }, scalar) as [
    ReturnType<typeof scalar>,
    ReturnType<typeof scalar>,
    ReturnType<typeof scalar>,
    ReturnType<typeof scalar>,
    ReturnType<typeof scalar>,
    ReturnType<typeof scalar>,
  ];
  const S = vault.publicKey;
  const names = identities(name, S);
  const prepared = preparePassword(typed);
  const backupKey = random(32);
  const limit = 10;

  const request = createRegistrationRequest(prepared, forScalar(blind.secretKey));
  const evaluated = diffieHellman(oprfKey.secretKey, request.registrationRequest);
  const registrationResponse = Buffer.concat([evaluated, S]);
  const registrationId = random(16);
  const shared = xOf(diffieHellman(vault.secretKey, keyshare.publicKey));
  const keys = registrationKeys(shared.slice());
  const started = startMac(keys.start, {
    serverPublicKey: S,
    keyshare: keyshare.publicKey,
    account: name,
    registrationId,
    blindedElement: request.registrationRequest,
    evaluatedElement: evaluated,
    transportKey: new Uint8Array(0),
    limit,
  });
  const envelopeNonce = random(32);
  const randomizedPassword = await randomizePassword(
    prepared,
    request.blind.slice(),
    evaluated.slice(),
    stretch,
  );
  const { registrationRecord, exportKey } = await finalizeRegistration(
    prepared,
    request.blind.slice(),
    registrationResponse,
    stretch,
    names,
    () => envelopeNonce,
  );
  const nonce = random(12);
  const { keyEncryptionKey, encryptedBackupKey } = sealed(exportKey, nonce, backupKey);
  const finish = (replace: boolean) =>
    finishMac(keys.finish, started, { registrationRecord, encryptedBackupKey, replace });

  const clientNonce = random(32);
  const keyshareSeed = random(32);
  const login = generateKE1(prepared, {
    blind: forScalar(loginBlind.secretKey),
    nonce: () => clientNonce,
    seed: () => keyshareSeed,
  });
  const clientKeyshare = login.KE1.subarray(65);
  const maskingNonce = random(32);
  const serverNonce = random(32);
  const { KE2 } = generateKE2({
    ...names,
    KE1: login.KE1,
    record: registrationRecord,
    serverPublicKey: S,
    evaluatedElement: diffieHellman(oprfKey.secretKey, login.KE1.subarray(0, 33)),
    maskingNonce,
    serverNonce,
    serverKeyshare: serverKeyshare.publicKey,
    dh1: diffieHellman(serverKeyshare.secretKey, clientKeyshare),
    dh2: diffieHellman(vault.secretKey, clientKeyshare),
    dh3: diffieHellman(serverKeyshare.secretKey, registrationRecord.subarray(0, 33)),
  });
  const { KE3, sessionKey } = await generateKE3(login, KE2, stretch, { ...names, pinnedServerPublicKey: S });

  return {
    account: name,
    password: typed,
    backupKey: hex(backupKey),
    vault: {
      secret: hex(vault.secretKey),
      serverPublicKey: hex(S),
      audience: audienceOf(Buffer.from(S).toString('base64url')),
      oprfKey: hex(oprfKey.secretKey),
    },
    names: {
      clientIdentity: hex(names.clientIdentity as Uint8Array),
      serverIdentity: hex(names.serverIdentity as Uint8Array),
    },
    registration: {
      blind: hex(blind.secretKey),
      registrationRequest: hex(request.registrationRequest),
      keyshareSecret: hex(keyshare.secretKey),
      keyshare: hex(keyshare.publicKey),
      shared: hex(shared),
      startKey: hex(keys.start),
      finishKey: hex(keys.finish),
      registrationId: hex(registrationId),
      registrationResponse: hex(registrationResponse),
      limit,
      startMacInput: hex(
        fields(
          Uint8Array.of(2),
          S,
          keyshare.publicKey,
          utf8(name),
          registrationId,
          request.registrationRequest,
          evaluated,
          Uint8Array.of(),
          Uint8Array.of(0),
          Uint8Array.of(1),
          Uint8Array.of(limit),
          Uint8Array.of(),
          Uint8Array.of(0),
        ),
      ),
      startMac: hex(started),
      randomizedPassword: hex(randomizedPassword),
      envelopeNonce: hex(envelopeNonce),
      registrationRecord: hex(registrationRecord),
      exportKey: hex(exportKey),
      keyEncryptionKey,
      nonce: hex(nonce),
      encryptedBackupKey: hex(encryptedBackupKey),
      finishMac: hex(finish(false)),
      finishMacReplacing: hex(finish(true)),
    },
    recovery: {
      blind: hex(loginBlind.secretKey),
      clientNonce: hex(clientNonce),
      keyshareSeed: hex(keyshareSeed),
      serverKeyshareSecret: hex(serverKeyshare.secretKey),
      maskingNonce: hex(maskingNonce),
      serverNonce: hex(serverNonce),
      KE1: hex(login.KE1),
      KE2: hex(KE2),
      KE3: hex(KE3),
      sessionKey: hex(sessionKey),
    },
  };
}

type Account = Awaited<ReturnType<typeof account>>;

const flipped = (text: string, byte: number): string => {
  const bytes = Buffer.from(text, 'hex');
  bytes[byte] = (bytes[byte] as number) ^ 1;
  return hex(bytes);
};

/** What a client must refuse, each made from the first account by one change, and how it says so. */
function refused({ registration, recovery, vault }: Account) {
  const other = hex(p256.Point.BASE.toBytes(true));
  return {
    starts: [
      { why: 'another MAC', mac: flipped(registration.startMac, 31) },
      {
        why: 'another evaluation',
        registrationResponse: other + registration.registrationResponse.slice(66),
      },
      { why: 'another vault', registrationResponse: registration.registrationResponse.slice(0, 66) + other },
      { why: 'another limit', limit: registration.limit + 1 },
      { why: 'another exchange', registrationId: flipped(registration.registrationId, 0) },
      { why: 'another account', account: 'mallory' },
    ].map((change) => ({ ...change, code: 'VaultIdentityMismatch' })),
    logins: [
      { why: 'another evaluation', KE2: other + recovery.KE2.slice(66), code: 'WrongPassword' },
      { why: 'another record', KE2: flipped(recovery.KE2, 100), code: 'WrongPassword' },
      { why: 'another account', account: 'mallory', code: 'WrongPassword' },
      { why: "another server's MAC", KE2: flipped(recovery.KE2, 258), code: 'VaultIdentityMismatch' },
      { why: 'another nonce', KE2: flipped(recovery.KE2, 170), code: 'VaultIdentityMismatch' },
    ],
    sealedKeys: [
      { why: 'another tag', encryptedBackupKey: flipped(registration.encryptedBackupKey, 59) },
      { why: 'another nonce', encryptedBackupKey: flipped(registration.encryptedBackupKey, 0) },
      { why: 'no tag', encryptedBackupKey: registration.encryptedBackupKey.slice(0, -32) },
    ].map((change) => ({ ...change, code: 'VaultError' })),
    elements: [
      '00',
      '02'.padEnd(66, 'f'),
      `04${vault.serverPublicKey.slice(2)}`,
      `${vault.serverPublicKey}00`,
    ],
  };
}

/** Every file, by its name in test/vectors. */
export async function vectors(): Promise<Record<string, unknown>> {
  const accounts = [
    await account('alice', 'correct horse battery staple'),
    await account('зоя@example', 'e\u0301te\u0301\u00a02026'),
  ];
  return {
    'code-points.json': codePoints(),
    'password.json': password(),
    'stretching.json': await stretching(),
    'account.json': accounts,
    'refused.json': refused(accounts[0] as Account),
  };
}

/** As it is written: long JSON that a person can still read, and ASCII, so that no editor changes a password. */
export const written = (value: unknown): string =>
  `${JSON.stringify(value, null, 1).replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)}\n`;

if (process.argv[1]?.endsWith('make-vectors.js'))
  for (const [name, value] of Object.entries(await vectors()))
    writeFileSync(`test/vectors/${name}`, written(value));
