import { aeskwp } from '@noble/ciphers/aes.js';
import {
  createRegistrationRequest,
  dealKey,
  EnvelopeRecoveryError,
  type Evaluation,
  equal,
  evaluate,
  finalizeRegistration,
  generateKE1,
  generateKE3,
  identities,
  interpolate,
  liars,
  ServerAuthenticationError,
  type Share,
  type Stretch,
  subsets,
} from '../protocol/index.js';
import type { AccountStatus, RegisterOptions } from './client.js';
import { Connection, fromBase64url, toBase64url } from './connection.js';
import { BkvError, KeyExists, Locked, VaultIdentityMismatch, WrongPassword } from './errors.js';
import { checkKey } from './key.js';
import { preparePassword } from './password.js';
import { openKey, sealKey } from './sealed-key.js';
import { stretchedOnce } from './stretched-once.js';
import { argon2, type StretchPassword, stretchOutput, tryDevice } from './stretching.js';

export interface FleetVault {
  readonly url: string;
  /** the vault's static public key, pinned, 33 bytes */
  readonly serverPublicKey: Uint8Array;
  /** the RSA key that shares are wrapped for, pinned: SubjectPublicKeyInfo */
  readonly transportPublicKey: Uint8Array;
}

export interface FleetOptions {
  /** in an order that does not change: a vault's place is its share's index */
  readonly vaults: readonly FleetVault[];
  /** how many vaults must answer: more than half of them */
  readonly threshold: number;
  /** the account's id, as the app knows it and the access tokens' `sub` has it */
  readonly account: string;
  /** a JWT for the account at one vault: its `aud` is `bkv:` and the vault's identity, its public key as base64url */
  readonly accessToken: (vault: {
    readonly url: string;
    readonly identity: string;
  }) => string | Promise<string>;
  /** milliseconds for one request; 10,000 unless told */
  readonly timeout?: number;
  /** milliseconds until another vault is asked beside one that is slow; 800 unless told */
  readonly hedge?: number;
  /** where Argon2id runs; on the calling thread unless told */
  readonly stretch?: StretchPassword;
  /** whether `http:` is taken to other addresses than this device's own */
  readonly allowPlainHttp?: boolean;
}

/** Fewer vaults than the threshold answered: nothing can be recovered now. */
export class TooFewVaults extends BkvError {
  constructor(
    readonly answered: number,
    readonly threshold: number,
    readonly failures: readonly string[],
  ) {
    super(
      'TooFewVaults',
      `${answered} of the vaults answered, and ${threshold} are needed; try again when more are up (${failures.join('; ')})`,
    );
  }
}

export interface FleetRecovery {
  /** 32 bytes */
  readonly backupKey: Uint8Array;
  /** vaults whose answer was proven wrong, or whose keys are not the pinned ones */
  readonly liars: readonly string[];
  /** whether shares were dealt anew because a vault held none, and how many vaults hold one now */
  readonly repaired: number | undefined;
}

export interface VaultCheck {
  readonly url: string;
  readonly state: 'ok' | 'unreachable' | 'another identity';
  readonly detail?: string;
}

type Member = FleetVault & { readonly index: number; readonly connection: Connection };
/** What the vaults that answer say of the account. */
type Held = ReadonlyMap<Member, { dealings: string[]; attemptsRemaining: number; state: string }>;
type Started = Evaluation & { readonly member: Member; readonly answer: Record<string, unknown> };
type Opened = {
  readonly member: Member;
  readonly exportKey: Uint8Array;
  readonly KE3: Uint8Array;
  recoveryId: string;
};

// PKCS#8 of a P-256 key without its public half (RFC 5208, RFC 5915): the scalar follows.
const PKCS8_PREFIX = Uint8Array.from(
  '3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420'.match(/../g) as string[],
  (pair) => Number.parseInt(pair, 16),
);

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/**
 * One account over several independent vaults, any `threshold` of which give its key back. The vaults do not know of
 * each other; all that joins them is done here.
 */
export class FleetClient {
  readonly #members: readonly Member[];
  readonly #threshold: number;
  readonly #hedge: number;
  readonly #stretch: StretchPassword;
  readonly #account: string;

  /** @throws BkvError `InvalidFleet` */
  constructor({
    vaults,
    threshold,
    account,
    accessToken,
    timeout = 10_000,
    hedge = 800,
    stretch = argon2,
    allowPlainHttp = false,
  }: FleetOptions) {
    if (!(threshold > vaults.length / 2 && threshold <= vaults.length))
      throw new BkvError(
        'InvalidFleet',
        `the threshold of ${vaults.length} vaults is more than half of them and at most all, not ${threshold}`,
      );
    if (new Set(vaults.map(({ serverPublicKey }) => toBase64url(serverPublicKey))).size < vaults.length)
      throw new BkvError('InvalidFleet', 'two vaults of the fleet have the same static public key');
    this.#members = vaults.map((vault, i) => ({
      ...vault,
      index: i + 1,
      connection: new Connection(vault.url, {
        serverPublicKey: vault.serverPublicKey,
        accessToken: () => accessToken({ url: vault.url, identity: toBase64url(vault.serverPublicKey) }),
        timeout,
        allowPlainHttp,
      }),
    }));
    this.#threshold = threshold;
    this.#account = account;
    this.#hedge = hedge;
    this.#stretch = stretch;
  }

  /** Asks each vault who it is. */
  check(): Promise<VaultCheck[]> {
    return Promise.all(
      this.#members.map(async (member) => {
        const { url } = member;
        try {
          await this.#identify(member);
          return { url, state: 'ok' } as const;
        } catch (error) {
          const state = error instanceof VaultIdentityMismatch ? 'another identity' : 'unreachable';
          return { url, state, detail: reason(error) } as const;
        }
      }),
    );
  }

  /** @throws VaultIdentityMismatch when the vault's keys are not the pinned ones */
  async #identify({ url, connection, transportPublicKey }: Member): Promise<void> {
    const identity = await connection.identify();
    if (!equal(fromBase64url(identity.transportPublicKey), transportPublicKey))
      throw new VaultIdentityMismatch(`the vault at ${url} shows another transport key`);
  }

  /**
   * Deals a fresh key to all vaults, and has each keep the backup key (32 bytes) under the password. Cut off at any
   * point, what was registered before still opens, or the new does.
   * @returns how many vaults hold a share: at least the threshold
   * @throws KeyExists when the account has a key, unless `replace` gives it up
   * @throws BkvError `InvalidKey`, and as {@link preparePassword}
   * @throws StretchingUnavailable, TooFewVaults, VaultIdentityMismatch
   */
  async register(
    password: string,
    backupKey: Uint8Array,
    { replace = false }: RegisterOptions = {},
  ): Promise<number> {
    checkKey(backupKey);
    preparePassword(password).fill(0);
    await tryDevice(this.#stretch);
    const { held, strangers } = await this.#held();
    if (!replace && [...held.values()].some(({ state }) => state === 'registered')) throw new KeyExists();
    const [stranger] = strangers.values();
    if (stranger) throw stranger;
    const newest =
      [...held.values()]
        .flatMap(({ dealings }) => dealings)
        .sort()
        .at(-1) ?? '0'.repeat(32);
    const count = BigInt(`0x${newest.slice(0, 16)}`) + 1n;
    const random = crypto.getRandomValues(new Uint8Array(8));
    const dealing = [...random].reduce(
      (text, byte) => text + byte.toString(16).padStart(2, '0'),
      count.toString(16).padStart(16, '0'),
    );
    const secret = preparePassword(password);
    const { key, shares } = dealKey(this.#threshold, this.#members.length);
    try {
      const { blind, registrationRequest } = createRegistrationRequest(secret);
      const evaluated = evaluate(key, registrationRequest);
      const once = stretchedOnce(stretchOutput(this.#stretch));
      const done = await Promise.allSettled(
        this.#members.map(async (member, i) => {
          const response = Uint8Array.from([...evaluated, ...member.serverPublicKey]);
          const { registrationRecord, exportKey } = await finalizeRegistration(
            secret,
            blind,
            response,
            once,
            identities(this.#account, member.serverPublicKey),
          );
          await member.connection.command('POST', '/v1/share/register', {
            dealing,
            ...(await this.#wrap(member, shares[i] as Share)),
            registrationRecord: toBase64url(registrationRecord),
            encryptedBackupKey: toBase64url(await sealKey(exportKey, backupKey)),
          });
          return member;
        }),
      );
      const holders = done.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
      if (holders.length < this.#threshold) throw this.#tooFew(holders.length, done);
      // From here on the new dealing opens; the old one is ended so that an old password does not live on.
      await Promise.allSettled(
        holders.map(({ connection }) => connection.command('POST', '/v1/share/commit', { dealing })),
      );
      return holders.length;
    } finally {
      for (const { scalar } of shares) scalar.fill(0);
      key.fill(0);
      secret.fill(0);
    }
  }

  /**
   * Puts a new password in place of the old one; the backup key, and so the backup, stays. Cut off, one of the two opens.
   * @throws as {@link recover} and {@link register} do
   */
  async changePassword(oldPassword: string, newPassword: string): Promise<void> {
    preparePassword(newPassword).fill(0);
    const { backupKey } = await this.recover(oldPassword);
    try {
      await this.register(newPassword, backupKey, { replace: true });
    } finally {
      backupKey.fill(0);
    }
  }

  /**
   * Gets the backup key back from any `threshold` vaults. A wrong password costs an attempt at each vault that was
   * asked. When a vault is found without its share, all shares are dealt anew.
   * @throws StretchingUnavailable before any attempt is spent; BkvError as {@link preparePassword}
   * @throws WrongPassword, Locked, TooFewVaults, VaultIdentityMismatch
   */
  async recover(password: string): Promise<FleetRecovery> {
    preparePassword(password).fill(0);
    await tryDevice(this.#stretch);
    const { held, strangers } = await this.#held();
    const dealing = this.#newest(held);
    const holders = this.#members.filter((member) => held.get(member)?.dealings.includes(dealing));
    const secret = preparePassword(password);
    try {
      // One blind for all: every vault evaluates the same element.
      const seed = crypto.getRandomValues(new Uint8Array(48));
      const login = () => generateKE1(secret, { blind: () => seed.slice() });
      const logins = new Map(holders.map((member) => [member, login()]));
      const start = async (member: Member): Promise<Started> => {
        const KE1 = toBase64url((logins.get(member) as ReturnType<typeof login>).KE1);
        const answer = await member.connection.request('POST', '/v1/recovery/start', { KE1, dealing });
        return { member, index: member.index, element: fromBase64url(answer.KE2).subarray(0, 33), answer };
      };
      const waiting = [...holders];
      let started = await this.#ask(waiting, this.#threshold, start);
      const once = stretchedOnce(stretchOutput(this.#stretch));
      const open = (honest: readonly Started[], answers: readonly Started[]) =>
        this.#open(honest, answers, once, (member) => {
          const state = logins.get(member) as ReturnType<typeof login>;
          return { ...state, blind: state.blind.slice(), secretKey: state.secretKey.slice() };
        });
      let opened = await open(started, started);
      if (opened.length === 0 && waiting.length > 0) {
        // A wrong password, or a vault that lies: the other vaults tell which.
        const more = await Promise.allSettled(waiting.map(start));
        started = [...started, ...more.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))];
        if (!this.#agree(started)) {
          for (const some of subsets(started, this.#threshold)) {
            opened = await open(some, started);
            if (opened.length > 0) break;
          }
        }
      }
      if (opened.length === 0) throw await this.#wrong(started);

      const trusted = new Set(opened.map(({ member }) => member));
      const honest = started.filter(({ member }) => trusted.has(member));
      const proven = honest.length >= this.#threshold ? liars(honest.slice(0, this.#threshold), started) : [];
      const lied = started.filter(({ member, index }) => !trusted.has(member) || proven.includes(index));
      const backupKey = await this.#finish(opened);
      const repaired =
        held.size < this.#members.length || holders.length === this.#members.length
          ? undefined
          : await this.register(password, backupKey, { replace: true }).catch(() => undefined);
      const distrusted = [...lied.map(({ member }) => member), ...strangers.keys()];
      return { backupKey, liars: distrusted.map(({ url }) => url), repaired };
    } finally {
      secret.fill(0);
    }
  }

  /** What the fleet as a whole says of the account: it opens as long as `threshold` vaults do. @throws TooFewVaults */
  async status(): Promise<AccountStatus> {
    const { held } = await this.#held();
    try {
      const dealing = this.#newest(held);
      const left = [...held.values()]
        .filter(({ dealings }) => dealings.includes(dealing))
        .map(({ attemptsRemaining }) => attemptsRemaining);
      return { state: 'registered', attemptsRemaining: this.#guesses(left), dealings: [dealing] };
    } catch (error) {
      if (error instanceof Locked) return { state: 'locked', attemptsRemaining: 0 };
      if (error instanceof WrongPassword) return { state: 'unregistered' };
      throw error;
    }
  }

  /** Makes the account's key unreachable for ever: that of `threshold` vaults is enough. @throws TooFewVaults */
  async delete(): Promise<void> {
    const done = await Promise.allSettled(
      this.#members.map(({ connection }) => connection.command('DELETE', '/v1/account')),
    );
    const deleted = done.filter(({ status }) => status === 'fulfilled').length;
    // As many as leave fewer than the threshold behind.
    if (deleted <= this.#members.length - this.#threshold) throw this.#tooFew(deleted, done);
  }

  /**
   * What each vault that answers holds (a locked one nothing), and those whose keys are not the pinned ones: they are
   * asked for nothing more.
   * @throws TooFewVaults, VaultIdentityMismatch when too few are left because of strangers
   */
  async #held(): Promise<{ held: Held; strangers: ReadonlyMap<Member, VaultIdentityMismatch> }> {
    const strangers = new Map<Member, VaultIdentityMismatch>();
    const done = await Promise.allSettled(
      this.#members.map(async (member) => {
        const [status] = await Promise.all([
          member.connection.request('GET', '/v1/account'),
          this.#identify(member).catch((error) => {
            if (error instanceof VaultIdentityMismatch) strangers.set(member, error);
            throw error;
          }),
        ]);
        return [
          member,
          {
            dealings: (status.dealings as string[] | undefined) ?? [],
            attemptsRemaining: Number(status.attemptsRemaining ?? 0),
            state: String(status.state),
          },
        ] as const;
      }),
    );
    const held = new Map(done.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : [])));
    if (held.size < this.#threshold) throw [...strangers.values()][0] ?? this.#tooFew(held.size, done);
    return { held, strangers };
  }

  /** The newest dealing that enough vaults hold. @throws Locked, WrongPassword (nothing is registered), TooFewVaults */
  #newest(held: Held): string {
    const counts = new Map<string, number>();
    for (const { dealings } of held.values())
      for (const dealing of dealings) counts.set(dealing, (counts.get(dealing) ?? 0) + 1);
    const whole = [...counts].filter(([, count]) => count >= this.#threshold).map(([dealing]) => dealing);
    const newest = whole.sort().at(-1);
    if (newest) return newest;
    const locked = [...held.values()].filter(({ state }) => state === 'locked').length;
    if (locked > this.#members.length - this.#threshold) throw new Locked();
    if (counts.size === 0 && locked === 0) throw new WrongPassword(0);
    throw new TooFewVaults(Math.max(0, ...counts.values()), this.#threshold, [
      'the other vaults hold no share of the account, or do not answer',
    ]);
  }

  /** Asks vaults until `wanted` have answered; a slow one is hedged by asking the next beside it. */
  async #ask(
    waiting: Member[],
    wanted: number,
    start: (member: Member) => Promise<Started>,
  ): Promise<Started[]> {
    const answers: Started[] = [];
    const failures: PromiseRejectedResult[] = [];
    const pending = new Set<Promise<void>>();
    const next = () => {
      const member = waiting.shift();
      if (!member) return;
      const asked: Promise<void> = start(member)
        .then((answer) => void answers.push(answer))
        .catch((why) => void failures.push({ status: 'rejected', reason: why }))
        .finally(() => pending.delete(asked));
      pending.add(asked);
    };
    for (let i = 0; i < wanted; i++) next();
    while (answers.length < wanted && pending.size > 0) {
      const failed = failures.length;
      let timer: ReturnType<typeof setTimeout> | undefined;
      const slow = new Promise<'slow'>((resolve) => {
        timer = setTimeout(() => resolve('slow'), this.#hedge);
      });
      const why = await Promise.race([...pending, slow]);
      clearTimeout(timer);
      if (why === 'slow' || failures.length > failed) next();
    }
    if (answers.length < wanted) {
      const locked = failures.filter(({ reason: why }) => why instanceof Locked).length;
      if (locked > 0 && answers.length + (failures.length - locked) < wanted) throw new Locked();
      throw this.#tooFew(answers.length, failures);
    }
    return answers;
  }

  /** Opens each answering vault's envelope with the evaluation that `honest` combine to; those that open are returned. */
  async #open(
    honest: readonly Started[],
    answers: readonly Started[],
    once: Stretch,
    login: (member: Member) => ReturnType<typeof generateKE1>,
  ): Promise<Opened[]> {
    let combinedElement: Uint8Array;
    try {
      combinedElement = interpolate(honest);
    } catch {
      return [];
    }
    const opened: Opened[] = [];
    for (const { member, answer } of answers) {
      try {
        const { KE3, exportKey, sessionKey } = await generateKE3(
          login(member),
          fromBase64url(answer.KE2),
          once,
          {
            ...identities(this.#account, member.serverPublicKey),
            pinnedServerPublicKey: member.serverPublicKey,
            combinedElement,
          },
        );
        sessionKey.fill(0);
        opened.push({ member, exportKey, KE3, recoveryId: String(answer.recoveryId) });
      } catch (error) {
        if (!(error instanceof EnvelopeRecoveryError || error instanceof ServerAuthenticationError))
          throw error;
      }
    }
    return opened;
  }

  /** Whether all evaluations lie on one polynomial of the threshold's degree. */
  #agree(started: readonly Started[]): boolean {
    return liars(started.slice(0, this.#threshold), started.slice(this.#threshold)).length === 0;
  }

  /** Proves the password to every vault that opened; the first encrypted key that opens is the key. */
  async #finish(opened: readonly Opened[]): Promise<Uint8Array> {
    const done = await Promise.allSettled(
      opened.map(async ({ member, exportKey, KE3, recoveryId }) => {
        const body = { recoveryId, KE3: toBase64url(KE3) };
        const finished = await member.connection.request('POST', '/v1/recovery/finish', body);
        return openKey(exportKey, fromBase64url(finished.encryptedBackupKey));
      }),
    );
    const key = done.find((result) => result.status === 'fulfilled');
    if (!key) throw this.#tooFew(0, done);
    return (key as PromiseFulfilledResult<Uint8Array>).value;
  }

  /** Ends the attempts at the vaults, and says how many guesses are left. */
  async #wrong(started: readonly Started[]): Promise<WrongPassword> {
    await Promise.allSettled(
      started.map(({ member, answer }) =>
        member.connection.command('DELETE', `/v1/recovery/${answer.recoveryId}`),
      ),
    );
    const status = await this.status().catch(() => undefined);
    return new WrongPassword(status && 'attemptsRemaining' in status ? status.attemptsRemaining : 0);
  }

  /** Guesses that are certain to be left: the threshold-th largest of what the vaults have left. */
  #guesses(left: readonly number[]): number {
    return [...left].sort((a, b) => b - a)[this.#threshold - 1] ?? 0;
  }

  async #wrap({ transportPublicKey }: Member, { scalar, publicKey }: Share) {
    // SHA-1 as many tokens know no other here; OAEP does not rest on its resistance to collisions (RFC 8017, B.1).
    const rsa = await crypto.subtle.importKey(
      'spki',
      transportPublicKey as BufferSource,
      { name: 'RSA-OAEP', hash: 'SHA-1' },
      false,
      ['encrypt'],
    );
    const aes = crypto.getRandomValues(new Uint8Array(32));
    const pkcs8 = Uint8Array.from([...PKCS8_PREFIX, ...scalar]);
    const wrapped = {
      sharePublicKey: toBase64url(publicKey),
      transportKey: toBase64url(new Uint8Array(await crypto.subtle.encrypt({ name: 'RSA-OAEP' }, rsa, aes))),
      wrappedShare: toBase64url(aeskwp(aes).encrypt(pkcs8)),
    };
    aes.fill(0);
    pkcs8.fill(0);
    return wrapped;
  }

  #tooFew(answered: number, done: readonly PromiseSettledResult<unknown>[]): TooFewVaults {
    const failures = done.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    return new TooFewVaults(answered, this.#threshold, [...new Set(failures.map(reason))]);
  }
}
