import assert from 'node:assert/strict';
import pkcs11 from 'pkcs11js';
import { type Hardening, harden } from '../../src/keeper/pkcs11/attributes.js';

const one = (name: 'CKA_ALLOWED_MECHANISMS' | 'CKA_UNWRAP_TEMPLATE' | 'CKA_COPYABLE' | 'CKA_MODIFIABLE') =>
  ({ name, type: pkcs11[name], value: () => false }) satisfies Hardening;
const ALL = [
  one('CKA_ALLOWED_MECHANISMS'),
  one('CKA_UNWRAP_TEMPLATE'),
  one('CKA_COPYABLE'),
  one('CKA_MODIFIABLE'),
];

/** A module that refuses templates with any of these attributes. */
const module =
  (...refused: number[]) =>
  (template: pkcs11.Template): number[] => {
    if (template.some(({ type }) => refused.includes(type)))
      throw Object.assign(new Error('CKR_ATTRIBUTE_TYPE_INVALID'), {
        code: pkcs11.CKR_ATTRIBUTE_TYPE_INVALID,
      });
    return template.map(({ type }) => type);
  };

describe('hardening a key', () => {
  it('gives a module all attributes that it accepts, CKA_MODIFIABLE last, and names the rest', () => {
    for (let mask = 0; mask < 16; mask++) {
      const refused = ALL.filter((_, i) => mask & (1 << i));
      const { made, lacks } = harden([], ALL, module(...refused.map(({ type }) => type)));
      assert.deepEqual(
        made,
        ALL.filter((each) => !refused.includes(each)).map(({ type }) => type),
      );
      assert.deepEqual(
        lacks,
        refused.map(({ name }) => name),
      );
    }
  });

  it('leaves out attributes that cannot be passed on this machine', () => {
    const unsayable: Hardening = {
      ...one('CKA_UNWRAP_TEMPLATE'),
      value: () => {
        throw Object.assign(new Error('koffi cannot be loaded'), { reason: 'BKV_NO_FFI' });
      },
    };
    assert.deepEqual(harden([], [unsayable, one('CKA_COPYABLE')], module()).lacks, ['CKA_UNWRAP_TEMPLATE']);
  });

  it('does not hide another failure, nor the refusal of a template without hardening', () => {
    let calls = 0;
    const away = () => {
      calls++;
      throw Object.assign(new Error('CKR_DEVICE_REMOVED'), { code: pkcs11.CKR_DEVICE_REMOVED });
    };
    assert.throws(() => harden([], ALL, away), /CKR_DEVICE_REMOVED/);
    assert.equal(calls, 1);
    const label = { type: pkcs11.CKA_LABEL, value: 'x' };
    assert.throws(() => harden([label], ALL, module(pkcs11.CKA_LABEL)), /CKR_ATTRIBUTE_TYPE_INVALID/);
  });
});
