import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import { destroyNamed, makeOld, objectsNamed, plainKey } from '../rig/old-token.js';
import { freshToken, isOpenCryptoki } from '../rig/token.js';
import { Ledger, tokenStore } from '../src/keeper/ledger/index.js';
import { renderMetrics } from '../src/keeper/metrics/index.js';
import { KEY_ATTACKS, type Target, UNWRAP_ATTACKS } from '../src/keeper/pkcs11/attacks/index.js';
import { Binding } from '../src/keeper/pkcs11/binding.js';
import { CANARY_LABEL, sealCanary } from '../src/keeper/pkcs11/canary.js';
import { examine, KEY_LABELS, type Profile } from '../src/keeper/pkcs11/index.js';
import { hmac } from '../src/keeper/pkcs11/keyring.js';
import { makeKey } from '../src/keeper/pkcs11/keys.js';
import type { KeyLabel } from '../src/keeper/pkcs11/labels.js';
import { provision } from '../src/keeper/pkcs11/provisioning.js';
import { Session } from '../src/keeper/pkcs11/session.js';
import {
  hmacKey,
  staticKey,
  staticPublicKey,
  wrapKey,
  wrapKeyHardenings,
} from '../src/keeper/pkcs11/templates.js';
import { generateWrapped } from '../src/keeper/pkcs11/wrapping.js';
import { TokenPool } from '../src/keeper/pool/index.js';

const { CKA_CLASS, CKA_KEY_TYPE, CKA_LABEL, CKA_PRIVATE, CKA_TOKEN, CKA_VALUE, CKO_SECRET_KEY } = pkcs11;

/** Skipped on openCryptoki, which protects keys from nobody who has the PIN. `bkv doctor` says so. */
(isOpenCryptoki ? describe.skip : describe)('an insider, who has the PIN', function () {
  this.timeout(120_000);
  let profile: Profile;
  let binding: Binding;
  before(() => {
    profile = freshToken();
    binding = new Binding(profile);
  });
  after(() => binding.close());

  const only = (label: string, where = binding): pkcs11.Handle => {
    const [found, other] = objectsNamed(where, label).filter(
      (handle) => where.attribute(handle, CKA_CLASS).readUInt8() !== pkcs11.CKO_PUBLIC_KEY,
    );
    assert.ok(found && !other, label);
    return found;
  };
  const target = (make: (kind: KeyLabel, label: string) => void): Target => {
    const label = (kind: KeyLabel) => `test.${kind}`;
    for (const kind of [KEY_LABELS.wrap, KEY_LABELS.ledger, KEY_LABELS.static]) {
      destroyNamed(binding, label(kind));
      make(kind, label(kind));
    }
    const wrap = only(label(KEY_LABELS.wrap));
    return {
      binding,
      prefix: 'test.',
      wrap,
      mac: only(label(KEY_LABELS.ledger)),
      pair: only(label(KEY_LABELS.static)),
      account: generateWrapped(binding, wrap),
    };
  };
  const ours = () => target((kind, label) => makeKey(binding, kind, label));
  const plain = () => target((kind, label) => plainKey(binding, kind, label));

  describe('attacks on an account’s key fail on the hardened token, and succeed on a plain one', () => {
    let [hard, soft] = [] as unknown as [Target, Target];
    before(() => {
      soft = plain();
      soft = { ...soft, wrap: copyOf(soft.wrap) };
      hard = ours();
    });
    // The hardened keys take the same labels, so the plain wrapping key is kept as a session object.
    const copyOf = (key: pkcs11.Handle) =>
      binding.p11.C_CopyObject(binding.session, key, [{ type: CKA_TOKEN, value: false }]);
    for (const { name, succeeds } of UNWRAP_ATTACKS)
      it(`unwrapped ${name}`, () => {
        assert.equal(succeeds(binding, soft.wrap, soft.account), true);
        assert.equal(succeeds(binding, hard.wrap, hard.account), false);
      });
  });

  describe('attacks on the token’s keys fail on the hardened token', () => {
    /** Keys of which some have weaker attributes. */
    const weak = (changes: Partial<Record<KeyLabel, pkcs11.Template>>) =>
      target((kind, label) => {
        const { p11, session } = binding;
        const changed = changes[kind] ?? [];
        const with_ = (template: pkcs11.Template) => [
          ...template.filter(({ type }) => !changed.some((one) => one.type === type)),
          ...changed,
        ];
        const length = { type: pkcs11.CKA_VALUE_LEN, value: 32 };
        const use = { backedUp: false };
        if (kind === KEY_LABELS.static)
          p11.C_GenerateKeyPair(
            session,
            { mechanism: pkcs11.CKM_EC_KEY_PAIR_GEN },
            staticPublicKey(label),
            with_(staticKey(label, use)),
          );
        else if (kind === KEY_LABELS.wrap)
          p11.C_GenerateKey(session, { mechanism: pkcs11.CKM_AES_KEY_GEN }, [
            ...with_(wrapKey(label, use)),
            length,
          ]);
        else
          p11.C_GenerateKey(session, { mechanism: pkcs11.CKM_GENERIC_SECRET_KEY_GEN }, [
            ...with_(hmacKey(label, use)),
            length,
          ]);
      });
    /** A module that answers these calls falsely. */
    const lying = (calls: Partial<pkcs11.PKCS11>): Target => {
      const honest = ours();
      const p11 = new Proxy(binding.p11, {
        get: (module, name) => {
          const own = calls[name as keyof pkcs11.PKCS11] ?? module[name as keyof pkcs11.PKCS11];
          return typeof own === 'function' ? own.bind(module) : own;
        },
      });
      const lies = new Binding(profile, p11);
      opened.push(lies);
      return { ...honest, binding: lies };
    };
    const opened: Binding[] = [];
    afterEach(() => {
      for (const one of opened.splice(0)) one.close();
    });
    const yes = (type: number) => ({ type, value: true });
    const WEAK: Record<string, () => Target> = {
      'a key is read': () =>
        weak({
          [KEY_LABELS.ledger]: [{ type: pkcs11.CKA_SENSITIVE, value: false }, yes(pkcs11.CKA_EXTRACTABLE)],
        }),
      'a key leaves': () => weak({ [KEY_LABELS.wrap]: [yes(pkcs11.CKA_EXTRACTABLE)] }),
      'a key is copied': plain,
      'a key is changed': plain,
      'bkv.wrap encrypts or decrypts': () => weak({ [KEY_LABELS.wrap]: [yes(pkcs11.CKA_DECRYPT)] }),
      'bkv.wrap encrypts what': plain,
      'a key is cut': () => weak({ [KEY_LABELS.wrap]: [yes(pkcs11.CKA_DERIVE)] }),
      'a key multiplies': () =>
        lying({
          C_DeriveKey: function (this: pkcs11.PKCS11, session, mechanism, key, template) {
            const parameter = mechanism.parameter as pkcs11.ECDH1;
            const publicData = Buffer.from(parameter.publicData as Buffer);
            publicData[64] = (publicData[64] as number) ^ 1;
            return this.C_DeriveKey(
              session,
              { ...mechanism, parameter: { ...parameter, publicData } as pkcs11.ECDH1 },
              key,
              template,
            );
          } as pkcs11.PKCS11['C_DeriveKey'],
        }),
      'a key made outside': () =>
        lying({
          C_GetAttributeValue: function (this: pkcs11.PKCS11, session, key, template) {
            const read = this.C_GetAttributeValue(session, key, template);
            const claimed = [pkcs11.CKA_LOCAL, pkcs11.CKA_ALWAYS_SENSITIVE, pkcs11.CKA_NEVER_EXTRACTABLE];
            return read.map(({ type, value }) => ({
              type,
              value: claimed.includes(type) ? Buffer.of(1) : value,
            }));
          } as pkcs11.PKCS11['C_GetAttributeValue'],
        }),
      'an object that is not private': () =>
        lying({
          C_FindObjectsInit: function (this: pkcs11.PKCS11, session, template = []) {
            return this.C_FindObjectsInit(
              session,
              template.filter(({ type }) => type !== CKA_PRIVATE),
            );
          } as pkcs11.PKCS11['C_FindObjectsInit'],
        }),
    };
    for (const { name, run } of KEY_ATTACKS)
      it(`${name}; on a weak key, it succeeds`, () => {
        const [, weakened] = Object.entries(WEAK).find(([start]) => name.startsWith(start)) ?? [];
        assert.ok(weakened, 'the test knows how to weaken a key for it');
        assert.notEqual(run(weakened()), undefined);
        assert.equal(run(ours()), undefined);
      });
  });

  describe('is noticed when sessions open', () => {
    let own: Profile;
    let inside: Binding;
    beforeEach(() => {
      own = freshToken();
      inside = new Binding(own);
    });
    afterEach(() => inside.close());
    const open = () => {
      const session = new Session(own);
      session.close();
      return session;
    };
    const create = (...template: pkcs11.Template) =>
      inside.p11.C_CreateObject(inside.session, [{ type: CKA_TOKEN, value: true }, ...template]);
    const secretOf = (label: string, isPrivate: boolean): pkcs11.Template => [
      { type: CKA_CLASS, value: CKO_SECRET_KEY },
      { type: CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
      { type: CKA_LABEL, value: label },
      { type: CKA_PRIVATE, value: isPrivate },
      { type: CKA_VALUE, value: randomBytes(32) },
    ];

    it('a second key with the same name', () => {
      makeKey(inside, KEY_LABELS.wrap, KEY_LABELS.wrap);
      assert.throws(open, /holds 2 keys named bkv\.wrap; it must hold one: somebody who has the PIN/);
    });

    it('another key in the place of bkv.wrap, made as the vault makes it', () => {
      destroyNamed(inside, KEY_LABELS.wrap);
      makeKey(inside, KEY_LABELS.wrap, KEY_LABELS.wrap);
      assert.throws(
        open,
        /bkv\.wrap is not the one that this token had: somebody who has the PIN replaced it/,
      );
    });

    it('a twin of bkv.wrap that differs in CKA_COPYABLE only', () => {
      const { p11, session, keyWrap } = inside;
      destroyNamed(inside, KEY_LABELS.wrap);
      const twin = p11.C_GenerateKey(session, { mechanism: pkcs11.CKM_AES_KEY_GEN }, [
        ...wrapKey(KEY_LABELS.wrap, { backedUp: false }),
        ...wrapKeyHardenings(keyWrap.mechanism)
          .filter(({ type }) => type !== pkcs11.CKA_COPYABLE && type !== pkcs11.CKA_MODIFIABLE)
          .map((one) => ({ type: one.type, value: one.value() })),
        { type: pkcs11.CKA_VALUE_LEN, value: 32 },
      ]);
      // The canary holds the key's attributes at its making. So the insider makes a fitting canary as well.
      const ledgerKey = only(KEY_LABELS.ledger, inside);
      destroyNamed(inside, CANARY_LABEL);
      const hardened = new Set(wrapKeyHardenings(0).map(({ type }) => type));
      const canary = sealCanary({ ...generateWrapped(inside, twin), hardened }, (data) =>
        hmac(inside, ledgerKey, data),
      );
      create(
        { type: CKA_CLASS, value: pkcs11.CKO_DATA },
        { type: CKA_LABEL, value: CANARY_LABEL },
        { type: CKA_PRIVATE, value: true },
        { type: pkcs11.CKA_APPLICATION, value: 'bkv' },
        { type: CKA_VALUE, value: Buffer.from(canary) },
      );
      for (const type of [pkcs11.CKA_LOCAL, pkcs11.CKA_ALWAYS_SENSITIVE, pkcs11.CKA_NEVER_EXTRACTABLE])
        assert.deepEqual(inside.attribute(twin, type), Buffer.of(1));
      assert.throws(open, /CKA_COPYABLE of the key bkv\.wrap must be false/);
    });

    it('a key that was altered', () => {
      makeOld(own);
      const [key] = objectsNamed(inside, KEY_LABELS.wrap) as [pkcs11.Handle];
      inside.p11.C_SetAttributeValue(inside.session, key, [{ type: pkcs11.CKA_DECRYPT, value: true }]);
      assert.throws(open, /CKA_DECRYPT of the key bkv\.wrap must be false: the key was altered/);
    });

    it('a key that was made outside the token', () => {
      destroyNamed(inside, KEY_LABELS.names);
      create(...hmacKey(KEY_LABELS.names, { backedUp: false }), { type: CKA_VALUE, value: randomBytes(32) });
      assert.throws(
        open,
        /CKA_(ALWAYS_SENSITIVE|NEVER_EXTRACTABLE|LOCAL) of the key bkv\.names must be true/,
      );
    });

    it('a key that is gone', () => {
      destroyNamed(inside, KEY_LABELS.audit);
      assert.throws(open, /holds 0 keys named bkv\.audit/);
      assert.throws(() => provision(inside, false), /was in use already but lacks bkv\.audit/);
    });

    it('public objects with the vault’s labels: they are ignored, and named', () => {
      const before = open();
      assert.deepEqual(before.strange, []);
      const session = new Session(own);
      const identity = session.publicKey(KEY_LABELS.static);
      const mac = session.hmac(KEY_LABELS.ledger, Buffer.from('data'));
      session.close();
      create(...secretOf(KEY_LABELS.ledger, false));
      create(...staticPublicKey(KEY_LABELS.static).filter(({ type }) => type !== CKA_TOKEN), {
        type: pkcs11.CKA_EC_POINT,
        value: Buffer.from(
          '0441046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
          'hex',
        ),
      });
      create(
        { type: CKA_CLASS, value: pkcs11.CKO_DATA },
        { type: CKA_LABEL, value: CANARY_LABEL },
        { type: CKA_PRIVATE, value: true },
        { type: pkcs11.CKA_APPLICATION, value: 'bkv' },
        { type: CKA_VALUE, value: randomBytes(200) },
      );
      const after = new Session(own);
      assert.deepEqual([...after.strange].sort(), ['bkv.canary', 'bkv.ledger', 'bkv.static (public key)']);
      assert.deepEqual(after.exposure.ways, []);
      assert.deepEqual(after.publicKey(KEY_LABELS.static), identity);
      assert.deepEqual(after.hmac(KEY_LABELS.ledger, Buffer.from('data')), mac);
      after.close();
    });

    it('a public key named bkv.backup that the security officer did not make trusted: keys stay in the token', () => {
      create(
        { type: CKA_CLASS, value: pkcs11.CKO_PUBLIC_KEY },
        { type: CKA_KEY_TYPE, value: pkcs11.CKK_RSA },
        { type: CKA_LABEL, value: 'bkv.backup' },
        { type: CKA_PRIVATE, value: false },
        { type: pkcs11.CKA_MODULUS, value: randomBytes(384) },
        { type: pkcs11.CKA_PUBLIC_EXPONENT, value: Buffer.of(1, 0, 1) },
        { type: pkcs11.CKA_WRAP, value: true },
      );
      const session = new Session(own);
      const key = Buffer.from(session.generatePageKey('bkv.page.0.1'), 'hex');
      assert.deepEqual(inside.attribute(key, pkcs11.CKA_EXTRACTABLE), Buffer.of(0));
      session.learn('bkv.page.0.1', key.toString('hex'));
      assert.throws(() => session.wrapForBackup('bkv.page.0.1'), /trusts no key named bkv\.backup/);
      session.close();
    });

    it('a canary that is gone, or was made with another ledger key: the token is not called safe', () => {
      destroyNamed(inside, CANARY_LABEL);
      assert.match(open().exposure.ways.join(), /no canary/);
      provision(inside, false);
      assert.deepEqual(open().exposure.ways, []);
      destroyNamed(inside, KEY_LABELS.ledger);
      makeKey(inside, KEY_LABELS.ledger, KEY_LABELS.ledger);
      const { exposure, strange } = open();
      assert.match(exposure.ways.join(), /no canary/);
      assert.deepEqual(strange, [CANARY_LABEL]);
    });

    it('a second key, also when sessions are reopened', async () => {
      const token = await TokenPool.open(own);
      try {
        makeKey(inside, KEY_LABELS.names, KEY_LABELS.names);
        // refresh() calls C_Finalize, which also ends the handles of `inside`.
        await assert.rejects(token.refresh(), /holds 2 keys named bkv\.names/);
        assert.equal(token.state, 'away');
        assert.match(String(token.awayReason), /holds 2 keys named bkv\.names/);
      } finally {
        await token.close();
        inside = new Binding(own);
      }
    });

    it('a page key that was altered or copied; the ledger destroys what a crash left of one', async () => {
      let token = await TokenPool.open(own);
      const ledger = await Ledger.open(tokenStore(token), { limit: 10 });
      const cell = await ledger.pick();
      const label = ledger.keyOf(cell);
      await ledger.close();
      await token.close();
      inside = new Binding(own);
      // This key lacks CKA_LOCAL, as one whose generation was cut off.
      create(...hmacKey('bkv.page.9.9', { backedUp: false }), { type: CKA_VALUE, value: randomBytes(32) });
      token = await TokenPool.open(own);
      await assert.rejects(token.call('hmac', 'bkv.page.9.9', Buffer.from('data')), /no key named/);
      await (await Ledger.open(tokenStore(token), { limit: 10 })).close();
      await token.close();
      inside = new Binding(own);
      assert.deepEqual(objectsNamed(inside, 'bkv.page.9.9'), []);
      const [key] = objectsNamed(inside, label) as [pkcs11.Handle];
      const twin = plainKey(inside, KEY_LABELS.ledger, label);
      token = await TokenPool.open(own);
      await assert.rejects(
        Ledger.open(tokenStore(token), { limit: 10 }),
        new RegExp(`${label} is not the one that was made: there are 2`),
      );
      await token.close();
      inside = new Binding(own);
      assert.ok(key && twin);
    });

    it('a token that keeps keys in files, if the profile says requireNonExportable', () => {
      assert.throws(
        () => new Session({ ...own, requireNonExportable: true }),
        /can take keys of SoftHSM2 away.*requireNonExportable: the keys lie in files of the host\. Use a device/,
      );
    });
  });

  describe('with a token that an older version made', () => {
    let old: Profile;
    before(() => {
      old = freshToken();
      makeOld(old);
    });

    it('the vault serves, and does not call the token safe', async () => {
      const token = await TokenPool.open(old);
      await token.close();
      assert.match(renderMetrics(), /^bkv_token_keys_exportable\{way="module"\} 1$/m);
      assert.match(renderMetrics(), /^bkv_token_keys_exportable\{way="files"\} 1$/m);
      const session = new Session(old);
      session.close();
      assert.match(
        session.exposure.ways.join('; '),
        /no canary.*bkv\.wrap was made without CKA_ALLOWED_MECHANISMS/,
      );
    });

    it('a canary does not make it safe: the attacks themselves are tried', async () => {
      const inside = new Binding(old);
      provision(inside, false);
      inside.close();
      const session = new Session(old);
      session.close();
      assert.match(
        session.exposure.ways.join('; '),
        /unwrapped in the open .*unwrapped by another mechanism/,
      );
      const token = await TokenPool.open(freshToken());
      await token.close();
      assert.match(renderMetrics(), /^bkv_token_keys_exportable\{way="module"\} 0$/m);
    });

    it('bkv doctor says so; of a new token it says that keys are kept in files', () => {
      const said = (profile: Profile) => {
        const all = examine(profile, 1, 1);
        return all.filter(({ result }) => result !== 'works' && result !== 'note');
      };
      const unsafe = (profile: Profile) =>
        said(profile)
          .filter(({ result }) => result !== 'safe')
          .map(({ name, detail }) => `${name}: ${detail}`);
      const [keys, files, ...more] = unsafe(old);
      assert.match(keys as string, /the vault's keys: whoever has the PIN can take keys away: .*in the open/);
      assert.match(files as string, /^where the keys lie: keys lie in files/);
      assert.deepEqual(more, []);
      const [filesAlone, ...others] = unsafe(profile);
      assert.match(filesAlone as string, /keys lie in files/);
      assert.deepEqual(others, []);
      assert.equal(
        said(profile).filter(({ result }) => result === 'safe').length,
        UNWRAP_ATTACKS.length + KEY_ATTACKS.length + 1,
      );
    });
  });
});
