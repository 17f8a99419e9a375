import assert from 'node:assert/strict';
import {
  BkvError,
  type FleetClient,
  type FleetOutcome,
  Locked,
  MovedAway,
  NotRegistered,
  newBackupKey,
  TooFewVaults,
  WrongFleetPassword,
  WrongPassword,
} from '../../src/client/index.js';
import type { Fleet, Life } from './life.js';

const SHAPES = [
  [3, 2],
  [5, 3],
  [4, 3],
  [3, 2],
  [2, 2],
] as const;
const DEVICES = 2;

/** A device of the owner, which has the first `files` fleet files. */
interface Device {
  files: number;
  client: FleetClient;
}

/** The owner of one account, who remembers what they were told. */
export class Owner {
  /** oldest first */
  readonly fleets: Fleet[] = [];
  readonly #devices: Device[];
  #device: Device;
  /** the key, once a registration was acknowledged as complete */
  key: Uint8Array | undefined;
  /** passwords that may open with their keys, because the owner was not told that they have ended */
  possible = new Map<string, Uint8Array>();
  made = 0;
  readonly ways: string[] = [];

  constructor(readonly life: Life) {
    const [size, threshold] = SHAPES[life.random.pick(SHAPES.length)] as readonly [number, number];
    const liars = life.random.pick(size - threshold + 1);
    const places = this.#shuffled(Array.from({ length: size }, (_, i) => i < liars));
    this.#add({ members: places.map((isFaulty) => life.addMember(isFaulty)), threshold, liars });
    this.#devices = Array.from({ length: DEVICES }, () => ({ files: 1, client: this.#newClient(1) }));
    this.#device = this.#devices[0] as Device;
  }

  get fleet(): Fleet {
    return this.fleets.at(-1) as Fleet;
  }

  #add(fleet: Fleet): void {
    this.fleets.push(fleet);
    this.life.shape = { size: fleet.members.length, threshold: fleet.threshold };
  }

  get #isOutdated(): boolean {
    return this.#device.files < this.fleets.length;
  }

  #newClient(files: number): FleetClient {
    const [fleet, ...predecessors] = this.fleets.slice(0, files).reverse();
    return this.life.client(fleet as Fleet, predecessors);
  }

  async act(): Promise<void> {
    const { random } = this.life;
    const isLossy = random.chance(0.25);
    this.life.loss = isLossy ? 0.08 : 0;
    this.life.slowness = random.chance(0.2) ? 0.2 : 0.01;
    this.#device = this.#devices[random.chance(0.7) ? 0 : 1] as Device;
    if (this.#isOutdated && random.chance(0.4)) this.#update();
    if (random.chance(0.3)) this.#device.client = this.#newClient(this.#device.files);
    for (const { isForgetful, vault } of this.life.members)
      if (isForgetful && random.chance(0.15)) await vault.loseDatabase();
    const what = this.possible.size === 0 ? 0 : random.pick(12);
    if (what === 0 && !this.#isOutdated) await this.register();
    else if (what < 5) await this.recover();
    else if (what < 7) await this.guess();
    else if (what < 10) await this.change();
    else if (what === 10) await this.abort();
    else await this.move();
    await this.#device.client.settled();
    if (!isLossy) this.life.checkClosed();
    await this.life.expire();
    this.life.checkBound();
  }

  /** Gives the device the newest fleet file. */
  #update(): void {
    this.#device.files = this.fleets.length;
    this.#device.client = this.#newClient(this.#device.files);
  }

  #note(what: string): void {
    const old = this.#isOutdated ? ` with fleet file ${this.#device.files}` : '';
    this.ways.push(`${what}${old}${this.life.loss > 0 ? ' (lossy)' : ''}`);
  }

  /** The password that must open, if there is only one. */
  get #password(): string | undefined {
    return this.possible.size === 1 && this.key ? [...this.possible.keys()][0] : undefined;
  }

  /** Notes what the owner is told. If no vault is pending, all other passwords must have ended. */
  #told(password: string, key: Uint8Array, { pending, liars }: FleetOutcome): void {
    this.life.checkBlamed(liars);
    if (pending.length > 0) {
      this.possible.set(password, key);
      return;
    }
    this.key = key;
    this.possible = new Map([[password, key]]);
    // A device with an older fleet file cannot know what a newer fleet holds.
    if (this.#isOutdated) return;
    for (const other of new Set(this.life.passwords.values()))
      for (const fleet of this.fleets)
        assert.ok(
          other === undefined || other === password || !this.life.couldOpen(fleet, other),
          `"${other}" still opens though "${password}" is all there is`,
        );
  }

  /** @param work registers under the password @param old the password before it */
  async #deal(
    password: string,
    key: Uint8Array,
    work: () => Promise<FleetOutcome>,
    old = password,
  ): Promise<void> {
    try {
      const outcome = await work();
      await this.#device.client.settled();
      this.life.label(password, old);
      this.#told(password, key, outcome);
    } catch (error) {
      await this.#device.client.settled();
      assert.ok(
        error instanceof TooFewVaults || (this.#isOutdated && error instanceof MovedAway),
        `registering: ${error}`,
      );
      this.#note(`  ${error.message}`);
      this.life.label(password, old, false);
      this.possible.set(password, key);
    }
  }

  async register(): Promise<void> {
    const password = `password ${++this.made}`;
    const key = this.key ?? newBackupKey();
    this.#note(`register ${password}`);
    await this.#deal(password, key, () => this.#device.client.register(password, key, { replace: true }));
  }

  async change(): Promise<void> {
    const old = await this.recover();
    if (old === undefined) return;
    const password = `password ${++this.made}`;
    const key = this.possible.get(old) as Uint8Array;
    this.#note(`change to ${password}`);
    await this.#deal(password, key, () => this.#device.client.changePassword(old, password), old);
  }

  /** Recovers with a password that should open: it opens, or too few vaults answer. */
  async recover(): Promise<string | undefined> {
    for (const [password, key] of [...this.possible].reverse()) {
      this.#note(`recover ${password}`);
      try {
        const counted = this.life.mostSpent();
        const { slowed } = this.life;
        const { backupKey, failedAttempts, ...outcome } = await this.#device.client.recover(password);
        // An attempt of this client may still be open at a slow member when that gets a share, and is then counted there.
        assert.ok(
          failedAttempts <= counted + (this.life.slowness > 0 ? 2 : 0),
          `${failedAttempts} attempts are told, honest members counted ${counted}`,
        );
        await this.#device.client.settled();
        this.life.label(password);
        assert.deepEqual(Buffer.from(backupKey), Buffer.from(key));
        // A start that arrives after a new dealing spends an attempt that nobody proves.
        if (this.life.loss === 0 && this.life.slowed === slowed)
          assert.ok(
            this.fleets.some((fleet) => this.life.isFull(fleet, password)),
            'attempts of an honest member stay spent',
          );
        if (!this.#isOutdated || outcome.pending.length > 0) this.#told(password, key, outcome);
        return password;
      } catch (error) {
        if (!(error instanceof BkvError)) throw error;
        await this.#device.client.settled();
        this.life.label(password);
        this.#note(`  ${error.code} ${error.message}`);
        if (error instanceof WrongFleetPassword) this.life.checkBlamed(error.liars);
        if (this.#password !== undefined && !this.#isOutdated)
          assert.ok(this.life.loss > 0 && error instanceof TooFewVaults, `the right password: ${error}`);
      }
    }
    assert.ok(!this.key || this.life.loss > 0 || this.#isOutdated, 'the account is lost');
    return undefined;
  }

  async guess(): Promise<void> {
    this.#note('guess');
    try {
      await this.#device.client.recover('a guess');
      assert.fail('a guess opened the account');
    } catch (error) {
      const isUnknown = error instanceof NotRegistered && (!this.key || this.#isOutdated);
      const isElsewhere = error instanceof MovedAway && this.#isOutdated;
      assert.ok(
        error instanceof WrongPassword || error instanceof TooFewVaults || isUnknown || isElsewhere,
        `a guess: ${error}`,
      );
      assert.ok(!(error instanceof Locked), 'locked by a guess or two');
      if (error instanceof WrongFleetPassword) this.life.checkBlamed(error.liars);
    }
    await this.#device.client.settled();
    await this.life.expire();
    this.life.loss = 0;
    if (this.#isOutdated) this.#update();
    await this.recover();
  }

  /** Guesses until nothing opens any more. No honest member may evaluate more guesses than its limit. */
  async besiege(): Promise<void> {
    await this.register();
    for (let i = 0; i < 3 * this.life.limit && this.possible.size > 0; i++) {
      this.#note('guess');
      const error = await this.#newClient(1)
        .recover('a guess')
        .then(
          () => assert.fail('a guess opened the account'),
          (reason: unknown) => reason,
        );
      assert.ok(error instanceof BkvError, String(error));
      await this.life.expire();
      this.life.checkBound();
    }
    const [password] = this.possible.keys();
    await assert.rejects(
      this.#newClient(1).recover(password as string),
      (error) => error instanceof Locked || error instanceof TooFewVaults,
    );
  }

  async abort(): Promise<void> {
    const [password] = this.possible.keys();
    this.#note('abort');
    const abort = new AbortController();
    void this.life
      .wait(this.life.random.pick(4000))
      .then(() => abort.abort(new BkvError('Aborted', 'enough')));
    await this.#device.client.recover(password as string, { signal: abort.signal }).catch((error) => {
      assert.ok(error instanceof BkvError, String(error));
    });
    await this.#device.client.settled();
    this.life.label(password as string);
  }

  /** Moves the account to a fleet with other members, another threshold, or both. */
  async move(): Promise<void> {
    const { random } = this.life;
    if (this.fleets.length === 3 || !this.key) return this.recover().then(() => undefined);
    this.#note('move');
    const kept = this.#shuffled([...this.fleet.members]).slice(0, random.pick(this.fleet.members.length + 1));
    const faulty = kept.filter(({ liar, isForgetful }) => liar || isForgetful).length;
    const size = Math.max(2, Math.min(7, kept.length + random.pick(3) + (kept.length < 2 ? 2 : 0)));
    const most = size - (Math.floor(size / 2) + 1);
    if (faulty > most) return;
    const liars = faulty + random.pick(most - faulty + 1);
    const threshold = Math.floor(size / 2) + 1 + random.pick(most - liars + 1);
    const fresh = Array.from({ length: size - kept.length }, (_, i) =>
      this.life.addMember(i < liars - faulty && random.chance(0.5)),
    );
    this.#add({ members: this.#shuffled([...kept, ...fresh]), threshold, liars });
    this.#update();
    await this.recover();
  }

  #shuffled<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.life.random.pick(i + 1);
      [items[i], items[j]] = [items[j] as T, items[i] as T];
    }
    return items;
  }
}
