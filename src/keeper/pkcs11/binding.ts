import pkcs11 from 'pkcs11js';
import { TokenError } from './errors.js';
import { findSlot, initialize, login } from './login.js';
import { octetString, pointOfAttribute } from './point.js';
import type { Profile } from './profile.js';

const CKS_RW_USER_FUNCTIONS = 3;
/**
 * RFC 5649, since PKCS#11 3.1. In modules without this mechanism CKM_AES_KEY_WRAP_PAD means the same; in
 * modules with it CKM_AES_KEY_WRAP_PAD is another padding.
 */
const CKM_AES_KEY_WRAP_KWP = 0x210b;

/** Return values for an attribute that an object does not have, or does not show. */
const UNREADABLE: ReadonlySet<number> = new Set([
  pkcs11.CKR_ATTRIBUTE_SENSITIVE,
  pkcs11.CKR_ATTRIBUTE_TYPE_INVALID,
]);
/** Return values by which modules refuse a point in a form that they do not accept. */
const REFUSED_POINT: ReadonlySet<number> = new Set([
  pkcs11.CKR_MECHANISM_PARAM_INVALID,
  pkcs11.CKR_ARGUMENTS_BAD,
  pkcs11.CKR_DATA_INVALID,
  pkcs11.CKR_DATA_LEN_RANGE,
  pkcs11.CKR_DOMAIN_PARAMS_INVALID,
]);

/** An object that was found in the token, with its label. */
export interface Labelled {
  readonly handle: pkcs11.Handle;
  readonly label: string;
}

/**
 * A session of a module, logged in to the profile's token, with the calls that every part of {@link Session}
 * needs.
 */
export class Binding {
  readonly p11: pkcs11.PKCS11;
  readonly slot: pkcs11.Handle;
  readonly session: pkcs11.Handle;
  /** the module's mechanism for RFC 5649 */
  readonly keyWrap: pkcs11.Mechanism;
  #wantsDer = false;

  /** @throws TokenError when module, token or login fails; ProfileError when there is no PIN */
  constructor(profile: Profile, module = loadModule(profile)) {
    this.p11 = module;
    initialize(this.p11, profile);
    const slot = findSlot(this.p11, profile);
    this.slot = slot;
    this.session = this.p11.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION);
    this.keyWrap = { mechanism: keyWrapOf(profile, this.p11, slot) };
    try {
      if (!this.alive) login(this.p11, this.session, slot, profile);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Whether the session is there and logged in. */
  get alive(): boolean {
    try {
      return this.p11.C_GetSessionInfo(this.session).state === CKS_RW_USER_FUNCTIONS;
    } catch {
      return false;
    }
  }

  close(): void {
    try {
      this.p11.C_CloseSession(this.session);
    } catch {
      // It had ended already.
    }
  }

  find(template: pkcs11.Template): pkcs11.Handle[] {
    this.p11.C_FindObjectsInit(this.session, template);
    return thenCleanUp(
      () => this.#found(),
      () => this.p11.C_FindObjectsFinal(this.session),
    );
  }

  /** A module may give fewer objects at once than it was asked for: only none at all ends a search. */
  #found(): pkcs11.Handle[] {
    const all: pkcs11.Handle[] = [];
    for (;;) {
      const some = this.p11.C_FindObjects(this.session, 256);
      if (some.length === 0) return all;
      all.push(...some);
    }
  }

  attribute(handle: pkcs11.Handle, type: number): Buffer {
    const [attribute] = this.p11.C_GetAttributeValue(this.session, handle, [{ type }]);
    if (!attribute)
      throw new TokenError('the token answered without the attribute asked for', 'BKV_ATTRIBUTE');
    return attribute.value as Buffer;
  }

  /** An object's label; empty if it has none, like objects of other programs. */
  labelOf(handle: pkcs11.Handle): string {
    try {
      return this.attribute(handle, pkcs11.CKA_LABEL).toString('utf8');
    } catch (error) {
      if (UNREADABLE.has((error as pkcs11.Pkcs11Error).code)) return '';
      throw error;
    }
  }

  /** As {@link find}, with the label of each. */
  findLabelled(template: pkcs11.Template): Labelled[] {
    return this.find(template).map((handle) => ({ handle, label: this.labelOf(handle) }));
  }

  /** Whether a boolean attribute is CK_TRUE. */
  isTrue(handle: pkcs11.Handle, type: number): boolean {
    return this.attribute(handle, type)[0] === 1;
  }

  /** The point of a public key, 65 bytes. @throws TokenError when the module shows none of P-256 */
  pointOf(handle: pkcs11.Handle): Uint8Array {
    return pointOfAttribute(this.attribute(handle, pkcs11.CKA_EC_POINT));
  }

  /**
   * C_DeriveKey by CKM_ECDH1_DERIVE without a derivation function: the x-coordinate of k·P. A module may want
   * the point as it is, or in a DER OCTET STRING. Which form this module accepts is learned from its first
   * refusal.
   * @param point P, 65 bytes
   */
  agree(key: pkcs11.Handle, point: Uint8Array, template: pkcs11.Template): pkcs11.Handle {
    const derive = (publicData: Uint8Array) =>
      this.p11.C_DeriveKey(this.session, ecdh(publicData), key, template);
    if (this.#wantsDer) return derive(octetString(point));
    try {
      return derive(point);
    } catch (error) {
      if (!REFUSED_POINT.has((error as pkcs11.Pkcs11Error).code)) throw error;
      const handle = derive(octetString(point));
      this.#wantsDer = true;
      return handle;
    }
  }

  destroy(handle: pkcs11.Handle): void {
    this.p11.C_DestroyObject(this.session, handle);
  }

  /** Does `work` with a session object, and then destroys the object. */
  using<T>(handle: pkcs11.Handle, work: (handle: pkcs11.Handle) => T): T {
    return thenCleanUp(
      () => work(handle),
      () => this.destroy(handle),
    );
  }
}

/** If both throw, the error of the work is thrown: in a session that has ended, nothing can be cleaned up. */
function thenCleanUp<T>(work: () => T, cleanUp: () => void): T {
  let result: T;
  try {
    result = work();
  } catch (error) {
    try {
      cleanUp();
    } catch {}
    throw error;
  }
  cleanUp();
  return result;
}

/**
 * @throws TokenError for a file that is not a module, or that is for another machine; the loader's own
 * message would mislead
 */
export function load<T>(module: string, loading: () => T): T {
  try {
    return loading();
  } catch (error) {
    throw new TokenError(
      `${module} is not a PKCS#11 module for this machine (${process.arch}): ${(error as Error).message}. Correct "module" in the profile`,
      'BKV_MODULE',
    );
  }
}

/** @param onCall is called before each call into the module */
export function loadModule({ module }: Profile, onCall?: () => void): pkcs11.PKCS11 {
  const p11 = new pkcs11.PKCS11();
  load(module, () => p11.load(module));
  if (!onCall) return p11;
  const methods = p11 as unknown as Record<string, (...args: unknown[]) => unknown>;
  for (const name of Object.getOwnPropertyNames(pkcs11.PKCS11.prototype)) {
    const method = methods[name];
    if (!method || !name.startsWith('C_')) continue;
    methods[name] = (...args) => {
      onCall();
      return method.apply(p11, args);
    };
  }
  return p11;
}

/** Finalizes the module for the whole process. The next session initializes it again. */
export function finalize(module: pkcs11.PKCS11): void {
  try {
    module.C_Finalize();
  } catch {
    // It was not initialized, or has lost its device; C_Initialize will tell.
  }
}

/** The module's mechanism for RFC 5649. */
export function keyWrapOf(profile: Profile, p11: pkcs11.PKCS11, slot: pkcs11.Handle): number {
  if (profile.keyWrap !== undefined) return profile.keyWrap;
  return p11.C_GetMechanismList(slot).includes(CKM_AES_KEY_WRAP_KWP)
    ? CKM_AES_KEY_WRAP_KWP
    : pkcs11.CKM_AES_KEY_WRAP_PAD;
}

/** @param publicData a point, 65 bytes, or 67 in a DER OCTET STRING */
const ecdh = (publicData: Uint8Array): pkcs11.Mechanism => ({
  mechanism: pkcs11.CKM_ECDH1_DERIVE,
  parameter: {
    type: pkcs11.CK_PARAMS_EC_DH,
    kdf: pkcs11.CKD_NULL,
    publicData: Buffer.from(publicData),
  } as pkcs11.ECDH1,
});
