import type { Recovery, RegisterOptions } from '../client.js';
import { Connection } from '../connection.js';
import { KeyExists, VaultIdentityMismatch } from '../errors.js';
import { checkKey } from '../key.js';
import { preparePassword } from '../password.js';
import { argon2, type StretchPassword, stretchOutput, tryDevice } from '../stretching.js';
import { deal } from './deal.js';
import { withOthers, withShares } from './dealings.js';
import { defineFleet, type FleetDefinition, type FleetVault, idOf } from './definition.js';
import { deletion } from './deletion.js';
import { Driver } from './driver.js';
import { MovedAway } from './errors.js';
import { OpaqueScheme } from './opaque.js';
import { type Fleet, Operation, type Session } from './operation.js';
import type { FleetOutcome, FleetRecovery, FleetRegistration, FleetStatus, VaultCheck } from './outcome.js';
import type { MemberId, Program } from './program.js';
import { isElsewhere, look, type Recovered, recover } from './recover.js';
import type { Login } from './scheme.js';
import { statusOf } from './status.js';
import { WireMember } from './wire.js';

export interface FleetOptions extends FleetDefinition {
  /** fleets that held the account before this one, newest first: what is found there is moved here */
  readonly predecessors?: readonly FleetDefinition[];
  /** the account's id, as the app knows it; the same as the access tokens' `sub` */
  readonly account: string;
  /** a JWT for the account at one vault: its `aud` is `bkv:` and the vault's identity, its public key as base64url */
  readonly accessToken: (vault: {
    readonly url: string;
    readonly identity: string;
  }) => string | Promise<string>;
  /** milliseconds for one request; 10,000 by default */
  readonly timeout?: number;
  /** milliseconds until another vault is asked in addition to a slow one; 800 by default */
  readonly hedge?: number;
  /** whether `http:` is allowed to addresses other than this device's own */
  readonly allowPlainHttp?: boolean;
  /** where Argon2id runs; by default on the calling thread */
  readonly stretch?: StretchPassword;
}

/**
 * Lets a caller abort an operation. What was begun at the vaults is still brought to its end: see {@link
 * FleetClient.settled}.
 */
export interface Abortable {
  readonly signal?: AbortSignal;
}

/**
 * One account over several independent vaults, any `threshold` of which give its key back. The vaults do not
 * know of each other; everything that joins them is done here. `docs/fleet.md` says what up to `liars` of
 * them can and cannot do.
 */
export class FleetClient {
  readonly #fleets: readonly [Fleet, ...Fleet[]];
  readonly #vaults: readonly FleetVault[];
  readonly #members = new Map<MemberId, WireMember>();
  readonly #urls = new Map<MemberId, string>();
  readonly #session: Session = { caught: new Map(), slow: new Set(), repaired: new Set(), needed: 0 };
  readonly #driver: Driver;
  readonly #scheme: OpaqueScheme;
  readonly #stretch: StretchPassword;

  /** @throws BkvError `InvalidFleet`, `InvalidUrl`, `PlainHttp` */
  constructor(options: FleetOptions) {
    const { predecessors = [], account, accessToken, timeout = 10_000, hedge = 800 } = options;
    this.#fleets = [defineFleet(options), ...predecessors.map(defineFleet)];
    this.#vaults = options.vaults;
    this.#stretch = options.stretch ?? argon2;
    const keys = new Map<MemberId, FleetVault>();
    for (const vault of [options, ...predecessors].flatMap(({ vaults }) => vaults)) {
      const { url, serverPublicKey } = vault;
      const identity = idOf(vault);
      if (keys.has(identity)) continue;
      keys.set(identity, vault);
      this.#urls.set(identity, url);
      this.#members.set(
        identity,
        new WireMember(
          new Connection(url, {
            serverPublicKey,
            accessToken: () => accessToken({ url, identity }),
            timeout,
            allowPlainHttp: options.allowPlainHttp ?? false,
          }),
          () => this.#session.needed,
        ),
      );
    }
    this.#driver = new Driver(this.#members, this.#session, hedge);
    this.#scheme = new OpaqueScheme({
      account,
      stretch: stretchOutput(this.#stretch),
      serverPublicKey: (member) => (keys.get(member) as FleetVault).serverPublicKey,
    });
  }

  /** Asks each vault who it is. */
  check(): Promise<VaultCheck[]> {
    return Promise.all(
      this.#vaults.map(async (vault) => {
        const { url } = vault;
        try {
          await (this.#members.get(idOf(vault)) as WireMember).identify();
          return { url, state: 'ok' } as const;
        } catch (error) {
          const state = error instanceof VaultIdentityMismatch ? 'another identity' : 'unreachable';
          return { url, state, detail: (error as Error).message } as const;
        }
      }),
    );
  }

  /**
   * Deals a fresh key to all vaults, and has each keep the backup key (32 bytes) under the password. If this
   * is cut off at any point, either what was registered before still opens, or the new key does.
   * @throws KeyExists when the account has a key, unless `replace` gives it up
   * @throws StretchingUnavailable, DeviceTooSlow, AccessTokenUnavailable before anything is sent
   * @throws TooFewVaults, BkvError `InvalidKey`
   */
  async register(
    password: string,
    backupKey: Uint8Array,
    { replace = false, signal }: RegisterOptions & Abortable = {},
  ): Promise<FleetRegistration> {
    checkKey(backupKey);
    return this.#register(password, backupKey, replace ? () => undefined : expectNoKey, signal);
  }

  /** @param check refuses what was found before anything is dealt */
  async #register(
    password: string,
    backupKey: Uint8Array,
    check: (op: Operation) => void,
    signal: AbortSignal | undefined,
  ): Promise<FleetRegistration> {
    const op = this.#operation();
    const { proven, pending } = await this.#with(
      password,
      function* (login) {
        yield* look(op);
        check(op);
        return yield* deal(op, login, backupKey);
      },
      signal,
    );
    return { vaults: proven.size, ...this.#outcome(op, pending) };
  }

  /**
   * Puts a new password in place of the old one; the backup key, and so the backup, stays. When nothing is
   * pending, the old password opens nowhere any more. If this is cut off, one of the two opens.
   * @returns also `failedAttempts` at the old password, as {@link recover} does
   * @throws as {@link recover} and {@link register} do
   */
  async changePassword(
    oldPassword: string,
    newPassword: string,
    { signal }: Abortable = {},
  ): Promise<FleetRegistration & Pick<Recovery, 'failedAttempts'>> {
    preparePassword(newPassword).fill(0);
    const { backupKey, failedAttempts } = await this.recover(oldPassword, signal ? { signal } : {});
    try {
      const done = await this.#register(newPassword, backupKey, expectHere, signal);
      return { ...done, failedAttempts };
    } finally {
      backupKey.fill(0);
    }
  }

  /**
   * Gets the backup key back from any `threshold` vaults, and mends what it finds: a change that is pending, a vault
   * without its share, an account at a predecessor. A wrong password costs an attempt at every vault that was asked.
   * @throws StretchingUnavailable, DeviceTooSlow, AccessTokenUnavailable before any attempt is spent
   * @throws WrongPassword, Undecided, Locked, NotRegistered, MovedAway, TooFewVaults, ExchangeExpired
   */
  async recover(password: string, { signal }: Abortable = {}): Promise<FleetRecovery> {
    const op = this.#operation();
    const { pending, ...recovered } = await this.#with<Recovered>(
      password,
      (login) => recover(op, login),
      signal,
    );
    return { repaired: undefined, ...recovered, ...this.#outcome(op, pending) };
  }

  /**
   * What the fleet as a whole says about the account: its key opens as long as it does at `threshold` vaults.
   * @throws TooFewVaults when silent vaults might open it; MovedAway
   */
  async status(): Promise<FleetStatus> {
    const op = this.#operation();
    await this.#driver.run(look(op));
    const account = statusOf(op);
    const rest = account.state === 'unregistered' ? withShares(op) : [];
    return { ...account, others: this.#urlsOf(withOthers(op)), rest: this.#urlsOf(rest) };
  }

  /**
   * Makes the account's key unreachable for ever, here and at the predecessors.
   * @returns the vaults that must still be told, because up to `liars` of the others may only claim to have
   * done it
   * @throws TooFewVaults when so few were told that the rest could open it
   */
  async delete(): Promise<FleetOutcome> {
    const op = this.#operation();
    const pending = await this.#driver.run(deletion(op));
    return this.#outcome(op, pending);
  }

  /** Resolves once nothing that was begun is under way any more, including the answers of slow vaults. */
  settled(): Promise<void> {
    return this.#driver.settled();
  }

  async #with<T>(
    password: string,
    program: (login: Login) => Program<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const secret = preparePassword(password);
    try {
      this.#session.needed = await tryDevice(this.#stretch);
    } catch (error) {
      secret.fill(0);
      throw error;
    }
    const login = this.#scheme.login(secret);
    try {
      return await this.#driver.run(program(login), signal);
    } finally {
      void this.#driver.settled().then(() => login.wipe());
    }
  }

  #operation(): Operation {
    return new Operation(
      this.#fleets,
      this.#scheme,
      this.#session,
      (member) => this.#urls.get(member) as string,
    );
  }

  #outcome(op: Operation, pending: readonly MemberId[]): FleetOutcome {
    return {
      pending: this.#urlsOf(pending),
      silent: this.#urlsOf(op.silent.keys()),
      liars: this.#urlsOf(this.#session.caught.keys()),
    };
  }

  #urlsOf(members: Iterable<MemberId>): string[] {
    return [...members].map((member) => this.#urls.get(member) as string);
  }
}

/** @throws KeyExists */
function expectNoKey(op: Operation): void {
  // One vault may hold a key of its own, which this would end. A liar can do no more than have the owner
  // asked.
  if ([...op.looks.values()].some(({ dealings }) => dealings.length > 0)) throw new KeyExists();
}

/**
 * With an older fleet file, a new password would not apply to the fleet that the account has moved to.
 * @throws MovedAway
 */
function expectHere(op: Operation): void {
  if (isElsewhere(op)) throw new MovedAway();
}
