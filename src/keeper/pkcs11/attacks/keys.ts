import { createECDH, randomBytes } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import { stringData, ulongs } from '../attributes.js';
import type { Binding } from '../binding.js';
import { deriveX } from '../evaluation.js';
import { faultOf } from '../faults.js';
import { KEY_LABELS } from '../labels.js';
import { hmacKey } from '../templates.js';
import { unwrapAccountKey, type WrappedKey } from '../wrapping.js';
import { succeeds, withOwnKey, wrapAway } from './leak.js';
import { OTHER_MECHANISMS } from './unwrapping.js';

/** Throw-away keys, one of each kind that the vault has. */
export interface Target {
  readonly binding: Binding;
  /** their labels begin with it */
  readonly prefix: string;
  /** as `bkv.wrap` */
  readonly wrap: pkcs11.Handle;
  /** as the key of a page */
  readonly mac: pkcs11.Handle;
  /** as the secret half of `bkv.static` */
  readonly pair: pkcs11.Handle;
  /** wrapped under `wrap` */
  readonly account: WrappedKey;
}

/** What an insider who knows the PIN does to the token's keys. It may leave the keys changed. */
export interface KeyAttack {
  readonly name: string;
  /** @returns which key, and how; `undefined` when the module refuses all of it */
  run(target: Target): string | undefined;
}

const keysOf = ({ wrap, mac, pair }: Target): [name: string, pkcs11.Handle][] => [
  [KEY_LABELS.wrap, wrap],
  ['the key of a page', mac],
  [KEY_LABELS.static, pair],
];

const firstThat = <T>(all: readonly [string, T][], works: (one: T) => boolean): string | undefined =>
  all.find(([, one]) => works(one))?.[0];

/** An account's key, unwrapped as the vault does it. */
const withAccountKey = <T>({ binding, wrap, account }: Target, use: (key: pkcs11.Handle) => T): T => {
  return binding.using(unwrapAccountKey(binding, wrap, account.wrapped).made, use);
};

const read: KeyAttack = {
  name: 'a key is read (C_GetAttributeValue of CKA_VALUE)',
  run: (target) =>
    withAccountKey(target, (accountsKey) =>
      firstThat([...keysOf(target), ["an account's key", accountsKey]], (key) =>
        succeeds(() => target.binding.attribute(key, pkcs11.CKA_VALUE).length > 0),
      ),
    ),
};

const wrappedAway: KeyAttack = {
  name: 'a key leaves under a key of the insider (C_WrapKey)',
  run: (target) =>
    withAccountKey(target, (accountsKey) =>
      firstThat([...keysOf(target), ["an account's key", accountsKey]], (key) =>
        succeeds(() => wrapAway(target.binding, key)),
      ),
    ),
};

const copied: KeyAttack = {
  name: 'a key is copied, and the copy outlives it (C_CopyObject)',
  run: ({ binding, ...target }) =>
    firstThat(keysOf({ binding, ...target }), (key) =>
      [[], [{ type: pkcs11.CKA_DECRYPT, value: true }], [{ type: pkcs11.CKA_TOKEN, value: false }]].some(
        (changes) => succeeds(() => binding.destroy(binding.p11.C_CopyObject(binding.session, key, changes))),
      ),
    ),
};

const changed: KeyAttack = {
  name: 'a key is changed in place (C_SetAttributeValue)',
  run: (target) => {
    const { p11, session } = target.binding;
    const ways = CHANGES.flatMap(([change, attribute]) =>
      keysOf(target).map(([name, key]): [string, () => unknown] => [
        `${name}, ${change}`,
        () => p11.C_SetAttributeValue(session, key, [attribute]),
      ]),
    );
    return firstThat(ways, succeeds);
  },
};
const CHANGES: readonly [string, pkcs11.Attribute][] = [
  ['CKA_EXTRACTABLE=true', { type: pkcs11.CKA_EXTRACTABLE, value: true }],
  ['CKA_SENSITIVE=false', { type: pkcs11.CKA_SENSITIVE, value: false }],
  ['CKA_DECRYPT=true', { type: pkcs11.CKA_DECRYPT, value: true }],
  ['CKA_ENCRYPT=true', { type: pkcs11.CKA_ENCRYPT, value: true }],
  ['CKA_UNWRAP=true', { type: pkcs11.CKA_UNWRAP, value: true }],
  ['CKA_COPYABLE=true', { type: pkcs11.CKA_COPYABLE, value: true }],
  ['CKA_MODIFIABLE=true', { type: pkcs11.CKA_MODIFIABLE, value: true }],
  [
    'CKA_ALLOWED_MECHANISMS',
    { type: pkcs11.CKA_ALLOWED_MECHANISMS, value: ulongs(pkcs11.CKM_AES_ECB, pkcs11.CKM_AES_CBC) },
  ],
  ['CKA_LABEL', { type: pkcs11.CKA_LABEL, value: 'bkv.doctor.renamed' }],
];

/** Encrypts and decrypts blocks of the insider's choice. If that works, what the key wraps is not secret. */
const encrypts: KeyAttack = {
  name: 'bkv.wrap encrypts or decrypts what the insider chooses (C_Encrypt, C_Decrypt)',
  run: ({ binding, wrap }) => {
    const { p11, session } = binding;
    const block = Buffer.alloc(16, 1);
    return firstThat(
      OTHER_MECHANISMS.flatMap((mechanism): [string, () => unknown][] => [
        [
          `C_Encrypt, mechanism 0x${mechanism.mechanism.toString(16)}`,
          () => {
            p11.C_EncryptInit(session, mechanism, wrap);
            p11.C_Encrypt(session, block, Buffer.alloc(64));
          },
        ],
        [
          `C_Decrypt, mechanism 0x${mechanism.mechanism.toString(16)}`,
          () => {
            p11.C_DecryptInit(session, mechanism, wrap);
            p11.C_Decrypt(session, block, Buffer.alloc(64));
          },
        ],
      ]),
      succeeds,
    );
  },
};

const wrapsOtherwise: KeyAttack = {
  name: 'bkv.wrap encrypts what the insider chooses, by wrapping it (C_WrapKey by another mechanism)',
  run: ({ binding, wrap }) => {
    const { p11, session, keyWrap } = binding;
    const others = OTHER_MECHANISMS.filter(({ mechanism }) => mechanism !== keyWrap.mechanism);
    return withOwnKey(binding, (key) =>
      firstThat(
        others.map((one): [string, pkcs11.Mechanism] => [`mechanism 0x${one.mechanism.toString(16)}`, one]),
        (mechanism) => succeeds(() => p11.C_WrapKey(session, mechanism, wrap, key, Buffer.alloc(512))),
      ),
    );
  },
};

/**
 * A key that is derived by appending bytes to another key, or by cutting it, reveals that key byte by byte.
 */
const derives: KeyAttack = {
  name: 'a key is cut or joined into another key (C_DeriveKey)',
  run: (target) => {
    const { p11, session } = target.binding;
    const data = Buffer.allocUnsafeSlow(16).fill(1);
    const derived: pkcs11.Template = [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
      { type: pkcs11.CKA_TOKEN, value: false },
      { type: pkcs11.CKA_VALUE_LEN, value: 16 },
    ];
    const ways = [
      { mechanism: pkcs11.CKM_CONCATENATE_BASE_AND_DATA, parameter: stringData(data) },
      { mechanism: pkcs11.CKM_CONCATENATE_DATA_AND_BASE, parameter: stringData(data) },
      { mechanism: pkcs11.CKM_CONCATENATE_BASE_AND_KEY, parameter: target.mac },
      { mechanism: pkcs11.CKM_XOR_BASE_AND_DATA, parameter: stringData(data) },
      { mechanism: pkcs11.CKM_EXTRACT_KEY_FROM_KEY, parameter: ulongs(0) },
      { mechanism: pkcs11.CKM_AES_ECB_ENCRYPT_DATA, parameter: stringData(data) },
    ].flatMap((mechanism) =>
      keysOf(target).map(([name, key]): [string, () => unknown] => [
        `${name}, mechanism 0x${mechanism.mechanism.toString(16)}`,
        () => target.binding.destroy(p11.C_DeriveKey(session, mechanism, key, derived)),
      ]),
    );
    return firstThat(ways, succeeds);
  },
};

/** Points of other curves have small orders: a few hundred answers give the scalar (CVE-2015-7940 is one of many). */
const onAnotherCurve: KeyAttack = {
  name: 'a key multiplies a point of another curve',
  run: (target) =>
    withAccountKey(target, (accountsKey) => {
      const point = createECDH('prime256v1').generateKeys();
      point[64] = (point[64] as number) ^ 1;
      return firstThat(
        [
          ["an account's key", accountsKey],
          [KEY_LABELS.static, target.pair],
        ],
        (key) => succeeds(() => deriveX(target.binding, key, point)),
      );
    }),
};

/** Plants a key that the insider knows in place of one of the vault's. */
const planted: KeyAttack = {
  name: 'a key made outside looks as if the token had made it (CKA_LOCAL, CKA_ALWAYS_SENSITIVE)',
  run: ({ binding, prefix }) => {
    const label = `${prefix}planted`;
    const template = hmacKey(label, { backedUp: false });
    const claims = [pkcs11.CKA_LOCAL, pkcs11.CKA_ALWAYS_SENSITIVE, pkcs11.CKA_NEVER_EXTRACTABLE];
    const looksRight = (claimed: pkcs11.Template) =>
      succeeds(() =>
        binding.using(
          binding.p11.C_CreateObject(binding.session, [
            ...template,
            { type: pkcs11.CKA_VALUE, value: randomBytes(32) },
            ...claimed,
          ]),
          (key) => faultOf(binding, key, template) === undefined,
        ),
      );
    const claimed = claims.map((type) => ({ type, value: true }));
    return looksRight(claimed) || looksRight([]) ? 'the key of a page' : undefined;
  },
};

/** Everybody who reaches the module sees an object that is not private, and can make one without a PIN. */
const seenThoughPublic: KeyAttack = {
  name: 'an object that is not private is found among the private ones (CKA_PRIVATE)',
  run: ({ binding, prefix }) => {
    const label = `${prefix}public`;
    const key = binding.p11.C_CreateObject(binding.session, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
      { type: pkcs11.CKA_LABEL, value: label },
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_PRIVATE, value: false },
      { type: pkcs11.CKA_VALUE, value: randomBytes(32) },
    ]);
    return binding.using(key, () =>
      binding.find([
        { type: pkcs11.CKA_PRIVATE, value: true },
        { type: pkcs11.CKA_LABEL, value: label },
      ]).length > 0
        ? label
        : undefined,
    );
  },
};

/** `bkv doctor` tries each of these, on throw-away keys. */
export const KEY_ATTACKS: readonly KeyAttack[] = [
  read,
  wrappedAway,
  copied,
  changed,
  encrypts,
  wrapsOtherwise,
  derives,
  onAnotherCurve,
  planted,
  seenThoughPublic,
];
