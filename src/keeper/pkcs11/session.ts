import { timingSafeEqual } from 'node:crypto';
import type pkcs11 from 'pkcs11js';
import { compress } from '../elements/index.js';
import { Binding } from './binding.js';
import { TokenError } from './errors.js';
import { Evaluation, type LoginRandomness, type LoginRequest, type PrivateKey } from './evaluation.js';
import { inspect } from './inspection.js';
import { Keyring, type SessionKeys } from './keyring.js';
import { KEY_LABELS } from './labels.js';
import { type DataObject, DataObjects, type Lent, type Writer } from './objects.js';
import type { PageKey } from './page-keys.js';
import type { Profile } from './profile.js';
import { Shares, type TravellingShare } from './shares.js';
import { keysLieInFiles } from './software.js';
import { type WrappedKey, Wrapping } from './wrapping.js';

/** A point of P-256, 33 bytes: 2·G. */
const PROBE = Buffer.from('037cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978', 'hex');

export interface SessionOptions {
  /** grows with every C_Initialize of the process; handles of data objects are valid in one epoch only */
  readonly epoch?: number;
  /** the module, if the thread has loaded it already */
  readonly module?: pkcs11.PKCS11;
  /** keys that are used instead of the vault's keys, which are then not inspected */
  readonly keys?: (binding: Binding) => SessionKeys;
}

/** How whoever has the PIN can take keys of the token away. */
export interface Exposure {
  /** whether the keys are in files of the host, where they can be taken */
  readonly files: boolean;
  /** ways through the module; each was tried */
  readonly ways: readonly string[];
}

/** One logged-in PKCS#11 session: the calls of the hot path, each whole in itself. Lives on a worker thread. */
export class Session {
  readonly #binding: Binding;
  readonly #keyring: Keyring;
  readonly #wrapping: Wrapping;
  readonly #evaluation: Evaluation;
  readonly #shares: Shares;
  readonly #objects: DataObjects;

  /** labels of objects that others put into the token; they are skipped */
  readonly strange: readonly string[];
  readonly exposure: Exposure;

  /**
   * Opens a session, and inspects the keys that it will use. It uses no others.
   * @throws TokenError when module, token or login fails, a key is not the one that the vault made, or keys
   * can be taken away though the profile says `requireNonExportable`; ProfileError when there is no PIN
   */
  constructor(profile: Profile, { epoch = 0, module, keys }: SessionOptions = {}) {
    const binding = new Binding(profile, module);
    this.#binding = binding;
    try {
      const inspected = keys
        ? { ...keys(binding), exposures: [], strange: [] }
        : inspect(binding, profile.restored);
      this.strange = inspected.strange;
      this.exposure = { files: keysLieInFiles(profile, binding), ways: inspected.exposures };
      if (!keys && profile.requireNonExportable) refuseExposed(profile, this.exposure);
      this.#keyring = new Keyring(binding, inspected);
    } catch (error) {
      binding.close();
      throw error;
    }
    this.#wrapping = new Wrapping(binding, this.#keyring);
    this.#evaluation = new Evaluation(binding, this.#keyring, this.#wrapping);
    this.#shares = new Shares(this.#wrapping, this.#evaluation);
    this.#objects = new DataObjects(binding, epoch);
  }

  /** Whether the session is there and logged in. */
  get alive(): boolean {
    return this.#binding.alive;
  }

  /**
   * Tries whether the session is there. @param thorough also tries an HMAC and an evaluation @throws
   * TokenError when the session cannot be used
   */
  probe(thorough: boolean): void {
    if (!this.alive) throw new TokenError('the session has ended', 'BKV_CLOSED');
    if (!thorough) return;
    this.hmac(KEY_LABELS.ledger, PROBE);
    this.multiply({ label: KEY_LABELS.static }, PROBE);
  }

  /** As {@link DataObjects.lend}. */
  lend(): Lent | undefined {
    return this.#objects.lend();
  }

  /** As {@link DataObjects.borrows}. */
  borrows(lent: Lent): boolean {
    return this.#objects.borrows(lent);
  }

  close(): void {
    this.#wrapping.close();
    this.#binding.close();
  }

  /** As {@link Evaluation.multiply}. */
  multiply(key: PrivateKey, element: Uint8Array): Uint8Array {
    return this.#evaluation.multiply(key, element);
  }

  /** As {@link Evaluation.login}. */
  login(oprfKey: PrivateKey, serverKey: PrivateKey, request: LoginRequest, chosen?: LoginRandomness) {
    return this.#evaluation.login(oprfKey, serverKey, request, chosen);
  }

  /** As {@link Wrapping.generate}. */
  generateWrapped(): WrappedKey {
    return this.#wrapping.generate();
  }

  /** As {@link Shares.take}. */
  importShare(transport: WrappedKey, share: TravellingShare): Uint8Array {
    return this.#shares.take(transport, share);
  }

  /** HMAC-SHA-256 under a token key, 32 bytes. */
  hmac(label: string, data: Uint8Array): Uint8Array {
    return this.#keyring.hmac(label, data);
  }

  /** Public half of a token key pair, 33 bytes. */
  publicKey(label: string): Uint8Array {
    return compress(this.#keyring.point(label));
  }

  /** As {@link Keyring.wrapForBackup}. */
  wrapForBackup(label: string): Uint8Array {
    return this.#keyring.wrapForBackup(label);
  }

  /**
   * Makes a page's key for HMAC-SHA-256, which can leave the token only for its backup. Every session must
   * {@link learn} it.
   */
  generatePageKey(label: string): string {
    return this.#keyring.generatePageKey(label);
  }

  /** As {@link Keyring.learn}. */
  learn(label: string, handle?: string): void {
    this.#keyring.learn(label, handle);
  }

  /** As {@link Keyring.listPageKeys}. */
  listPageKeys(prefix: string): PageKey[] {
    return this.#keyring.listPageKeys(prefix);
  }

  /** As {@link Keyring.destroyPageKey}. */
  destroyPageKey(label: string): void {
    this.#keyring.destroyPageKey(label);
  }

  /** Whether the token holds a page's key of this label now. */
  holdsKey(label: string): boolean {
    return this.#keyring.find(label);
  }

  /** Whether the token now holds the key that made this HMAC (32 bytes). */
  holdsHmacKey(label: string, data: Uint8Array, mac: Uint8Array): boolean {
    return this.#keyring.find(label) && timingSafeEqual(this.#keyring.hmac(label, data), mac);
  }

  /** Writes a private token object of class CKO_DATA. @returns its handle */
  createData(label: string, value: Uint8Array): string {
    return this.#objects.create(label, value);
  }

  /**
   * Destroys data objects that another one has replaced. @param writer an object that must still be there;
   * another program destroys it to end this program's writing
   * @throws TokenError `BKV_FENCED` when it is gone: then nothing is destroyed
   */
  supersede(superseded: readonly string[], writer?: Writer): void {
    this.#objects.supersede(superseded, writer);
  }

  /** Destroys a data object; an object that is gone already is not an error. */
  destroyData(handle: string): void {
    this.#objects.destroy(handle);
  }

  /** Whether the token holds a data object with exactly these bytes. */
  holdsData(label: string, value: Uint8Array): boolean {
    return this.#objects.holds(label, value);
  }

  /** As {@link DataObjects.list}. */
  listData(prefix: string): DataObject[] {
    return this.#objects.list(prefix);
  }
}

function refuseExposed({ name }: Profile, { files, ways }: Exposure): void {
  const tried = [...(files ? ['the keys lie in files of the host'] : []), ...ways];
  if (tried.length > 0)
    throw new TokenError(
      `whoever has the PIN can take keys of ${name} away, and its profile says requireNonExportable: ${tried.join('; ')}. Use a device whose bkv doctor finds nothing unsafe, with keys made again by bkv token init; or leave requireNonExportable out`,
      'BKV_EXPORTABLE',
    );
}
