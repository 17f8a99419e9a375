/**
 * Loaded before a daemon on each of its threads: counts its logins in the file BKV_LOGINS, and at SIGUSR2
 * closes all sessions behind its back, like a token that was pulled out and put in again. While the file
 * BKV_HANG exists, no derivation returns.
 */
import { appendFileSync, existsSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import pkcs11 from 'pkcs11js';

const prototype = pkcs11.PKCS11.prototype;
const login = prototype.C_Login;
prototype.C_Login = function (this: pkcs11.PKCS11, ...args: Parameters<typeof login>) {
  appendFileSync(process.env.BKV_LOGINS as string, 'x');
  return login.apply(this, args);
};

const derive = prototype.C_DeriveKey;
prototype.C_DeriveKey = function (this: pkcs11.PKCS11, ...args: unknown[]) {
  while (existsSync(process.env.BKV_HANG as string))
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  return derive.apply(this, args as Parameters<typeof derive>);
} as typeof derive;

let module: string;
const { load } = prototype;
prototype.load = function (this: pkcs11.PKCS11, path: string) {
  module = path;
  load.call(this, path);
};
if (isMainThread)
  process.on('SIGUSR2', () => {
    const p11 = new pkcs11.PKCS11();
    load.call(p11, module);
    try {
      for (const slot of p11.C_GetSlotList(true)) p11.C_CloseAllSessions(slot);
    } catch (error) {
      // The daemon has just finalized the module itself.
      if ((error as pkcs11.Pkcs11Error).code !== pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED) throw error;
    }
  });
