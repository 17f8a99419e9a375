import assert from 'node:assert/strict';
import pkcs11 from 'pkcs11js';
import { InvalidInput } from '../../src/keeper/elements/index.js';
import { PinRefused, ProfileError, TokenError } from '../../src/keeper/pkcs11/errors.js';
import { errorOf, failureOf } from '../../src/keeper/pkcs11/failure.js';
import { codeOf } from '../../src/protocol/index.js';

describe('an error on its way from a session', () => {
  /** The error as it arrives on the other thread. */
  const arrive = (error: unknown, what?: string) => errorOf(structuredClone(failureOf(error)), what);

  it('has the return value’s name as its reason, and names first what failed', () => {
    const native = new pkcs11.Pkcs11Error('CKR_DEVICE_ERROR:48', 0x30, 'C_DeriveKey');
    const error = arrive(native, 'multiply: ');
    assert.ok(error instanceof TokenError);
    assert.deepEqual([error.reason, error.message], ['CKR_DEVICE_ERROR', 'multiply: CKR_DEVICE_ERROR']);
  });

  it('takes the reason from the number, not from a text', () => {
    assert.equal(
      failureOf(new pkcs11.Pkcs11Error('another text', 0x30, 'C_Sign')).reason,
      'CKR_DEVICE_ERROR',
    );
    const vendors = new pkcs11.Pkcs11Error('CKR_PIN_LOCKED', 0x80000001, 'C_Login');
    assert.equal(failureOf(vendors).reason, undefined);
    assert.equal((arrive(vendors) as TokenError).reason, 'BKV_TOKEN');
  });

  it('recognizes a stale handle by the return value', () => {
    assert.ok(failureOf(new pkcs11.Pkcs11Error('CKR_SESSION_HANDLE_INVALID:179')).stale);
    assert.ok(failureOf(new pkcs11.Pkcs11Error('CKR_KEY_HANDLE_INVALID:96')).stale);
    assert.ok(!failureOf(new pkcs11.Pkcs11Error('CKR_DEVICE_ERROR:48')).stale);
    assert.ok(!failureOf(new TokenError('HANDLE_INVALID is only a word here')).stale);
  });

  it('keeps its class, message, code and reason', () => {
    for (const error of [
      new TokenError('no such key', 'BKV_KEY'),
      new InvalidInput('not on the curve'),
      new ProfileError('no PIN found'),
      PinRefused.because('CKR_PIN_LOCKED', 'it is locked'),
    ]) {
      const arrived = arrive(error);
      assert.equal(arrived.constructor, error.constructor);
      assert.equal(arrived.message, error.message);
      assert.equal(codeOf(arrived), codeOf(error));
      assert.equal((arrived as TokenError).reason, (error as TokenError).reason);
    }
    assert.equal((arrive(new RangeError('a slip')) as TokenError).code, 'token-failed');
  });
});
