import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pkcs11 from 'pkcs11js';
import { isOpenCryptoki } from '../rig/token.js';
import { rehearseToken, restoreToken } from '../src/keeper/custody/index.js';
import { Ledger, tokenStore } from '../src/keeper/ledger/index.js';
import { UNWRAP_ATTACKS } from '../src/keeper/pkcs11/attacks/index.js';
import { Binding } from '../src/keeper/pkcs11/binding.js';
import { throwAwayKeys } from '../src/keeper/pkcs11/doctor/throw-away.js';
import {
  escrowKeys,
  initializeBackupToken,
  initializeToken,
  loadProfile,
  type Profile,
} from '../src/keeper/pkcs11/index.js';
import { OAEP } from '../src/keeper/pkcs11/keyring.js';
import { Session } from '../src/keeper/pkcs11/session.js';
import { backupKey, backupPublicKey } from '../src/keeper/pkcs11/templates.js';
import { TokenPool } from '../src/keeper/pool/index.js';
import { nonceOf, openRow, type Row, rowKeyInput, sealRow } from '../src/keeper/records/index.js';
import { backUpToken, TokenBackupError } from '../src/keeper/vault/token-backup.js';

const SO_PIN = '87654321';

/** Skipped on openCryptoki, which has no CKA_WRAP_WITH_TRUSTED. */
(isOpenCryptoki ? describe.skip : describe)('a backup of a token, without its custodians', () => {
  const named = (label: string): Profile => ({
    ...loadProfile('hsm-config/softhsm2.yaml'),
    token: { label: `${label}-${process.pid}` },
  });
  const [own, other] = [named('own'), { ...named('other'), restored: true }];
  const element = Buffer.from('036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296', 'hex');
  let backup: string;
  let row: Row;
  let account: { wrapped: Uint8Array; publicKey: Uint8Array };
  let evaluated: Uint8Array;

  const labels = (profile: Profile): string[] => {
    const binding = new Binding(profile);
    try {
      return binding
        .find([{ type: pkcs11.CKA_TOKEN, value: true }])
        .map((handle) => binding.labelOf(handle))
        .sort();
    } finally {
      binding.close();
    }
  };
  const withToken = async <T>(profile: Profile, work: (token: TokenPool) => Promise<T>): Promise<T> => {
    const token = await TokenPool.open(profile);
    try {
      return await work(token);
    } finally {
      await token.close();
    }
  };

  before(async () => {
    const publicKey = initializeBackupToken(other, SO_PIN);
    initializeToken(own, SO_PIN, true);
    escrowKeys(own, SO_PIN, publicKey);
    await withToken(own, async (token) => {
      const ledger = await Ledger.open(tokenStore(token), { limit: 10 });
      const cell = await ledger.pick();
      account = await token.call('generateWrapped');
      evaluated = await token.call('multiply', account, element);
      const place = { account: '5a'.repeat(32), ...cell };
      const nonce = Buffer.alloc(32, 7);
      const key = await token.call('hmac', ledger.keyOf(cell), rowKeyInput(place, nonce));
      const content = {
        dealing: '',
        named: true,
        wrappedKey: account.wrapped,
        publicKey: account.publicKey,
        registrationRecord: new Uint8Array(129),
        encryptedBackupKey: new Uint8Array(60),
      };
      row = sealRow(place, content, nonce, key);
      backup = await backUpToken(token, ledger);
      await ledger.close();
    });
  });

  it('is rehearsed, and leaves the backup token as it was', () => {
    const before = labels(other);
    assert.equal(rehearseToken(other, backup).pageKeys, 1);
    assert.deepEqual(labels(other), before);
  });

  it('names what does not fit: another version, another file, a key that is not the stated one', () => {
    const file = JSON.parse(backup);
    const changed = (change: object) => JSON.stringify({ ...file, ...change });
    const content = (change: object) => changed({ content: { ...file.content, ...change } });
    for (const [text, expected] of [
      ['{}', /not a backup of a token/],
      [backup.slice(0, -20), /damaged/],
      [changed({ version: 4 }), /version 4, and this program reads version 3/],
      [changed({ format: 'bkv token backup v2', version: undefined }), /version 2/],
      [content({ pages: 1 }), /damaged/],
      [content({ created: '2020-01-01T00:00:00.000Z' }), /bkv\.audit/],
      [
        content({ pair: { ...file.content.pair, publicKey: file.content.long.staticPublicKey } }),
        /bkv\.audit/,
      ],
      [
        content({ macs: file.content.macs.map((one: object) => ({ ...one, mac: file.mac })) }),
        /is not the one that the backup says/,
      ],
    ] as const)
      assert.throws(() => rehearseToken(other, text), expected);
    assert.throws(() => rehearseToken(other, '{}'), TokenBackupError);
  });

  it('neither a backup token nor a token whose restore was cut off serves anybody', () => {
    assert.throws(() => new Session(other), /restore/);
    const session = new Session(other, { keys: throwAwayKeys });
    session.createData('bkv.ledger.page.0', Buffer.from('of a restore that was cut off'));
    session.generatePageKey('bkv.page.9.9');
    session.close();
    assert.throws(() => new Session(other), /restore/);
  });

  it('unwrapped keys stay in the backup token; in one that an older version made, they do not', () => {
    const { long, keys } = JSON.parse(backup).content as {
      long: { kek: string };
      keys: { wrapped: string }[];
    };
    const binding = new Binding(other);
    const { p11, session } = binding;
    const tryIn = (key: pkcs11.Handle, wrapped: Uint8Array, keyType: number, changes: pkcs11.Template) => {
      const open = p11.C_UnwrapKey(session, OAEP, key, Buffer.from(wrapped), [
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
        { type: pkcs11.CKA_KEY_TYPE, value: keyType },
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_PRIVATE, value: true },
        { type: pkcs11.CKA_ENCRYPT, value: false },
        { type: pkcs11.CKA_WRAP, value: false },
        ...changes,
        { type: pkcs11.CKA_COPYABLE, value: false },
        { type: pkcs11.CKA_MODIFIABLE, value: false },
      ]);
      binding.destroy(open);
    };
    const inTheOpen: pkcs11.Template = [
      { type: pkcs11.CKA_SENSITIVE, value: false },
      { type: pkcs11.CKA_EXTRACTABLE, value: true },
      { type: pkcs11.CKA_DECRYPT, value: false },
    ];
    const toDecrypt: pkcs11.Template = [
      { type: pkcs11.CKA_SENSITIVE, value: true },
      { type: pkcs11.CKA_EXTRACTABLE, value: false },
      { type: pkcs11.CKA_DECRYPT, value: true },
    ];
    try {
      const [own] = binding.find([
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
        { type: pkcs11.CKA_LABEL, value: 'bkv.backup' },
      ]) as [pkcs11.Handle];
      const blobs = [
        [Buffer.from(long.kek, 'base64'), pkcs11.CKK_AES],
        [Buffer.from(keys[0]?.wrapped as string, 'base64'), pkcs11.CKK_GENERIC_SECRET],
      ] as const;
      for (const [wrapped, keyType] of blobs)
        for (const changes of [inTheOpen, toDecrypt])
          assert.throws(() => tryIn(own, wrapped, keyType, changes), /CKR_TEMPLATE_INCONSISTENT/);
      const unhardened = p11.C_GenerateKeyPair(
        session,
        { mechanism: pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN },
        backupPublicKey.map((one) => (one.type === pkcs11.CKA_TOKEN ? { ...one, value: false } : one)),
        backupKey.map((one) => (one.type === pkcs11.CKA_TOKEN ? { ...one, value: false } : one)),
      );
      const secret = p11.C_GenerateKey(session, { mechanism: pkcs11.CKM_AES_KEY_GEN }, [
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_EXTRACTABLE, value: true },
        { type: pkcs11.CKA_VALUE_LEN, value: 32 },
      ]);
      const wrapped = p11.C_WrapKey(session, OAEP, unhardened.publicKey, secret, Buffer.alloc(512));
      for (const changes of [inTheOpen, toDecrypt])
        tryIn(unhardened.privateKey, wrapped, pkcs11.CKK_AES, changes);
    } finally {
      binding.close();
    }
  });

  it('is restored: rows open, keys evaluate, and no key is left that could unwrap the backup again', async () => {
    restoreToken(other, backup);
    const after = labels(other);
    assert.ok(!after.includes('bkv.backup'), after.join());
    assert.ok(!after.includes('bkv.page.9.9'), 'what a restore left that was cut off is gone');
    const session = new Session(other);
    session.close();
    assert.deepEqual([session.exposure.ways, session.strange], [[], []]);
    const binding = new Binding(other);
    const [wrap] = binding.find([{ type: pkcs11.CKA_LABEL, value: 'bkv.wrap' }]) as [pkcs11.Handle];
    const passed = UNWRAP_ATTACKS.filter((attack) => attack.succeeds(binding, wrap, account));
    binding.close();
    assert.deepEqual(passed, []);
    await withToken(other, async (token) => {
      const ledger = await Ledger.open(tokenStore(token), { limit: 10 });
      assert.equal(ledger.state(row).state, 'live');
      const key = await token.call('hmac', ledger.keyOf(row), rowKeyInput(row, nonceOf(row)));
      const { wrappedKey, publicKey } = openRow(row, key);
      assert.deepEqual(await token.call('multiply', { wrapped: wrappedKey, publicKey }, element), evaluated);
      await assert.rejects(token.call('wrapForBackup', ledger.keyOf(row)), /bkv\.backup/);
      await ledger.close();
    });
    // If it is repeated because the PIN was not handed over yet, nothing changes.
    const served = labels(other);
    assert.equal(restoreToken(other, backup).pageKeys, 1);
    assert.deepEqual(labels(other), served);
  });

  it('version 3 can always be read', () => {
    const folder = 'test/golden/token-backup';
    const profile = named('golden');
    initializeBackupToken(profile, SO_PIN);
    hold(profile, readFileSync(join(folder, 'backup-token.pem'), 'utf8'));
    const golden = rehearseToken(profile, readFileSync(join(folder, 'backup-3.json'), 'utf8'));
    assert.deepEqual(golden, { created: '2026-11-26T04:30:00.000Z', pageKeys: 2 });
  });
});

/** Replaces the key of a backup token by another one. */
function hold(profile: Profile, pem: string): void {
  const binding = new Binding(profile);
  for (const handle of binding.find([{ type: pkcs11.CKA_TOKEN, value: true }])) binding.destroy(handle);
  const { n, e, d, p, q, dp, dq, qi } = createPrivateKey(pem).export({ format: 'jwk' });
  const number = (type: number, value: string | undefined) => ({
    type,
    value: Buffer.from(value as string, 'base64url'),
  });
  binding.p11.C_CreateObject(binding.session, [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_RSA },
    { type: pkcs11.CKA_LABEL, value: 'bkv.backup' },
    { type: pkcs11.CKA_TOKEN, value: true },
    { type: pkcs11.CKA_PRIVATE, value: true },
    { type: pkcs11.CKA_SENSITIVE, value: true },
    { type: pkcs11.CKA_EXTRACTABLE, value: false },
    { type: pkcs11.CKA_UNWRAP, value: true },
    number(pkcs11.CKA_MODULUS, n),
    number(pkcs11.CKA_PUBLIC_EXPONENT, e),
    number(pkcs11.CKA_PRIVATE_EXPONENT, d),
    number(pkcs11.CKA_PRIME_1, p),
    number(pkcs11.CKA_PRIME_2, q),
    number(pkcs11.CKA_EXPONENT_1, dp),
    number(pkcs11.CKA_EXPONENT_2, dq),
    number(pkcs11.CKA_COEFFICIENT, qi),
  ]);
  binding.close();
}
