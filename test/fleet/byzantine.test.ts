import assert from 'node:assert/strict';
import { seed } from '../../rig/random.js';
import {
  BkvError,
  type FleetClient,
  Locked,
  NotRegistered,
  newBackupKey,
  TooFewVaults,
  WrongPassword,
} from '../../src/client/index.js';
import { type Fleet, Life } from './life.js';

const LIVES = Number(process.env.BKV_LIVES ?? 15);
const SHAPES = [
  [3, 2],
  [5, 3],
  [4, 3],
  [3, 2],
  [2, 2],
] as const;

/** One account from its registration on, with what its owner was told. */
class Owner {
  fleet: Fleet;
  readonly predecessors: Fleet[] = [];
  client: FleetClient;
  /** the key, once one was acknowledged as complete */
  key: Uint8Array | undefined;
  /** passwords that may open: of none the owner was told that it has ended */
  possible = new Map<string, Uint8Array>();
  made = 0;
  readonly ways: string[] = [];

  constructor(readonly life: Life) {
    const [size, threshold] = SHAPES[life.random.pick(SHAPES.length)] as readonly [number, number];
    const liars = life.random.pick(size - threshold + 1);
    const places = shuffled(
      life,
      Array.from({ length: size }, (_, i) => i < liars),
    );
    this.fleet = { members: places.map((isFaulty) => life.addMember(isFaulty)), threshold, liars };
    this.client = life.client(this.fleet);
  }

  async act(): Promise<void> {
    const { random } = this.life;
    const isLossy = random.chance(0.25);
    this.life.loss = isLossy ? 0.08 : 0;
    if (random.chance(0.3)) this.client = this.life.client(this.fleet, this.predecessors);
    for (const { isForgetful, vault } of this.life.members)
      if (isForgetful && random.chance(0.15)) vault.loseDatabase();
    const what = this.possible.size === 0 ? 0 : random.pick(12);
    if (what === 0) await this.register();
    else if (what < 5) await this.recover();
    else if (what < 7) await this.guess();
    else if (what < 10) await this.change();
    else if (what === 10) await this.abort();
    else await this.move();
    await this.client.settled();
    if (!isLossy) this.life.checkClosed();
    this.life.expire();
    this.life.checkBound();
  }

  #note(what: string): void {
    this.ways.push(`${what}${this.life.loss > 0 ? ' (lossy)' : ''}`);
  }

  /** The only password that the owner needs to remember. */
  get #password(): string | undefined {
    return this.possible.size === 1 && this.key ? [...this.possible.keys()][0] : undefined;
  }

  #completed(password: string, key: Uint8Array): void {
    this.key = key;
    this.possible = new Map([[password, key]]);
    for (const other of new Set(this.life.passwords.values()))
      for (const fleet of [this.fleet, ...this.predecessors])
        assert.ok(
          other === password || !this.life.couldOpen(fleet, other),
          `"${other}" still opens though "${password}" is all there is`,
        );
  }

  async register(): Promise<void> {
    const password = `password ${++this.made}`;
    const key = this.key ?? newBackupKey();
    this.#note(`register ${password}`);
    try {
      const { pending } = await this.client.register(password, key, { replace: true });
      await this.client.settled();
      this.life.label(password);
      if (pending.length === 0) this.#completed(password, key);
      else this.possible.set(password, key);
    } catch (error) {
      assert.ok(error instanceof TooFewVaults, String(error));
      this.life.label(password);
      this.possible.set(password, key);
    }
  }

  /** Members that were too slow to be heard are seen to by the next recovery. */
  async #checkFull(password: string): Promise<void> {
    if (this.life.isFull(this.fleet, password)) return;
    await this.client.recover(password);
    await this.client.settled();
    this.life.label(password);
    assert.ok(this.life.isFull(this.fleet, password), 'attempts of an honest member stay spent');
  }

  /** With a password that should open: it opens, or too few vaults answered. */
  async recover(): Promise<string | undefined> {
    for (const [password, key] of [...this.possible].reverse()) {
      this.#note(`recover ${password}`);
      try {
        const counted = this.life.mostSpent();
        const { backupKey, pending, failedAttempts } = await this.client.recover(password);
        assert.ok(
          failedAttempts <= counted,
          `${failedAttempts} attempts are told, honest members counted ${counted}`,
        );
        await this.client.settled();
        this.life.label(password);
        assert.deepEqual(Buffer.from(backupKey), Buffer.from(key));
        if (this.life.loss === 0) await this.#checkFull(password);
        if (pending.length === 0) this.#completed(password, key);
        return password;
      } catch (error) {
        if (!(error instanceof BkvError)) throw error;
        await this.client.settled();
        this.life.label(password);
        this.#note(`  ${error.code} ${error.message}`);
        if (this.#password !== undefined)
          assert.ok(this.life.loss > 0 && error instanceof TooFewVaults, `the right password: ${error}`);
      }
    }
    assert.ok(!this.key || this.life.loss > 0, 'the account is lost');
    return undefined;
  }

  async guess(): Promise<void> {
    this.#note('guess');
    try {
      await this.client.recover('a guess');
      assert.fail('a guess opened the account');
    } catch (error) {
      assert.ok(
        error instanceof WrongPassword ||
          error instanceof TooFewVaults ||
          error instanceof Locked ||
          (error instanceof NotRegistered && !this.key),
        String(error),
      );
      assert.ok(!(error instanceof Locked), 'locked by a guess or two');
    }
    await this.client.settled();
    this.life.loss = 0;
    await this.recover();
  }

  async change(): Promise<void> {
    if ((await this.recover()) === undefined) return;
    await this.register();
  }

  async abort(): Promise<void> {
    const [password] = this.possible.keys();
    this.#note('abort');
    const abort = new AbortController();
    const after = this.life.random.pick(8);
    setTimeout(() => abort.abort(new BkvError('Aborted', 'enough')), after);
    await this.client.recover(password as string, { signal: abort.signal }).catch((error) => {
      assert.ok(error instanceof BkvError, String(error));
    });
    await this.client.settled();
    this.life.label(password as string);
  }

  /** To a fleet of other members, another threshold, or both. */
  async move(): Promise<void> {
    const { random } = this.life;
    if (this.predecessors.length === 2 || !this.key) return this.recover().then(() => undefined);
    this.#note('move');
    const kept = shuffled(this.life, [...this.fleet.members]).slice(
      0,
      random.pick(this.fleet.members.length + 1),
    );
    const faulty = kept.filter(({ liar, isForgetful }) => liar || isForgetful).length;
    const size = Math.max(2, Math.min(7, kept.length + random.pick(3) + (kept.length < 2 ? 2 : 0)));
    const most = size - (Math.floor(size / 2) + 1);
    if (faulty > most) return;
    const liars = faulty + random.pick(most - faulty + 1);
    const threshold = Math.floor(size / 2) + 1 + random.pick(most - liars + 1);
    const fresh = Array.from({ length: size - kept.length }, (_, i) =>
      this.life.addMember(i < liars - faulty && random.chance(0.5)),
    );
    this.predecessors.unshift(this.fleet);
    this.fleet = { members: shuffled(this.life, [...kept, ...fresh]), threshold, liars };
    this.client = this.life.client(this.fleet, this.predecessors);
    await this.recover();
  }
}

function shuffled<T>({ random }: Life, items: T[]): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = random.pick(i + 1);
    [items[i], items[j]] = [items[j] as T, items[i] as T];
  }
  return items;
}

describe(`lives of accounts among liars (BKV_SEED=${seed})`, function () {
  this.timeout(0);
  it(`${LIVES} lives: with the right password the key or too few vaults, nothing locks, what has ended has ended`, async () => {
    const first = Number(process.env.BKV_LIFE ?? 0);
    for (let n = first; n < first + LIVES; n++) {
      const life = new Life(`${seed}.${n}`);
      const owner = new Owner(life);
      try {
        for (let i = 0; i < 8; i++) await owner.act();
      } catch (error) {
        const { members, threshold, liars } = owner.fleet;
        const faulty = members.flatMap((one) => (one.liar ? one.url : one.isForgetful ? `(${one.url})` : []));
        const shape = `life ${n}: ${threshold} of ${members.length}, b = ${liars}, faulty: ${faulty.join(', ')}`;
        throw new Error(`${(error as Error).stack}\n${shape}\n${owner.ways.join('\n')}`);
      } finally {
        life.end();
      }
    }
  });
});
