import assert from 'node:assert/strict';
import { randomNumbers, randomStream } from '../../rig/random.js';
import { FleetClient, type FleetDefinition, type FleetOptions } from '../../src/client/index.js';
import { Clock } from './clock.js';
import { Conspiracy } from './conspiracy.js';
import { DoubleVault, type Kept } from './double.js';
import { Liar, type Random, type Sent } from './liar.js';
import { multiplyByOpenSSL } from './openssl.js';
import { RealVault } from './real-vault.js';
import { Replaced } from './replaced.js';
import { stretch } from './stretch.js';

/** milliseconds after which the client asks another vault too */
const HEDGE = 800;
/** milliseconds that the device takes to stretch a password */
const STRETCHING = 500;
/** milliseconds after which the client gives up a request */
const TIMEOUT = 10_000;
/** milliseconds after which every message has arrived */
const LATEST = 2 * TIMEOUT;
const ACCOUNT = 'alice';

interface Member {
  readonly url: string;
  readonly vault: Kept;
  readonly liar?: Liar;
  /** honest, but loses its database now and then. It counts among the b faulty members */
  readonly isForgetful: boolean;
}

/** The members of a fleet, of which at most b are faulty. While a life lasts, `fetch` reaches them. */
export class Life {
  readonly random: Random;
  readonly members: Member[] = [];
  readonly limit: number;
  /** whether somebody guesses until nothing opens any more */
  readonly isSiege: boolean;
  /** probability that a message of an honest member is lost */
  loss = 0;
  /** probability that a message is so slow that the client asks another vault */
  slowness = 0;
  /** number of such slow messages so far */
  slowed = 0;
  /** shape of the newest fleet */
  shape = { size: 0, threshold: 0 };
  readonly #conspiracy: Conspiracy | undefined;
  readonly #replaced = new Replaced();
  readonly #clock = new Clock(this.#replaced);
  /** the password of each dealing, or undefined if it is not certain */
  readonly passwords = new Map<string, string | undefined>();

  /** @param isReal whether honest members are the keeper's own vaults, over tokens in memory */
  constructor(
    readonly seed: string,
    readonly isReal = false,
  ) {
    const numbers = randomNumbers(`life ${seed}`);
    const stream = randomStream(`bytes ${seed}`);
    this.random = {
      pick: (n) => Math.floor(numbers() * n),
      chance: (p) => numbers() < p,
      bytes: (n) => stream(n),
    };
    this.isSiege = this.random.chance(0.05);
    this.limit = this.isSiege ? 3 + this.random.pick(4) : 20 + this.random.pick(10);
    this.#conspiracy = this.random.chance(0.4) ? new Conspiracy(this.random, () => this.shape) : undefined;
    const own = randomStream(`client ${seed}`);
    this.#replaced.replace(crypto, 'getRandomValues', (array: Uint8Array) => {
      array.set(own(array.length));
      return array;
    });
    this.#replaced.replace(globalThis, 'fetch', (url: URL, init?: RequestInit) => this.#answer(url, init));
    this.#replaced.add(multiplyByOpenSSL());
  }

  async end(): Promise<void> {
    for (const { vault } of this.members) await vault.end?.();
    this.#replaced.end();
  }

  wait(ms: number): Promise<void> {
    return this.#clock.wait(ms);
  }

  addMember(isFaulty: boolean): Member {
    if (isFaulty || !this.isReal) return this.addDouble(isFaulty);
    return this.#add({ vault: new RealVault(ACCOUNT, this.limit), isForgetful: false });
  }

  addDouble(isFaulty: boolean): Member & { readonly vault: DoubleVault } {
    const vault = new DoubleVault(ACCOUNT, this.limit, this.random.bytes);
    const isForgetful = isFaulty && this.random.chance(0.2);
    const liar = isFaulty && !isForgetful ? new Liar(vault, this.random, this.#conspiracy) : undefined;
    return this.#add({ vault, isForgetful, ...(liar && { liar }) });
  }

  #add<M extends Omit<Member, 'url'>>(member: M): M & Member {
    const added = { url: `http://127.0.1.${this.members.length + 1}`, ...member };
    this.members.push(added);
    return added;
  }

  /** @param predecessors newest first */
  client(
    fleet: Fleet,
    predecessors: readonly Fleet[] = [],
    options: Partial<FleetOptions> = {},
  ): FleetClient {
    return new FleetClient({
      ...definitionOf(fleet),
      predecessors: predecessors.map(definitionOf),
      account: ACCOUNT,
      accessToken: () => 'token',
      hedge: HEDGE,
      timeout: TIMEOUT,
      stretch: async (password, salt) => {
        await this.wait(STRETCHING);
        return stretch(password, salt);
      },
      ...options,
    });
  }

  /**
   * Notes the password of each new dealing.
   * @param old the password before a change. The client may first deal anew for it, so only the last dealing surely has the
   * new password, and none surely has it if the change failed
   */
  label(password: string, old = password, isDone = true): void {
    const seen = this.members.flatMap(({ vault }) => [...vault.seen.keys()]);
    const fresh = [...new Set(seen)].filter((name) => !this.passwords.has(name)).sort();
    for (const name of fresh) {
      const isSure = old === password || (isDone && name === fresh.at(-1));
      this.passwords.set(name, isSure ? password : undefined);
    }
  }

  /** Whether T members could serve a dealing of this password: honest ones that have it, and liars that ever had it. */
  couldOpen({ members, threshold }: Fleet, password: string): boolean {
    const names = [...this.passwords].filter(([, one]) => one === password).map(([name]) => name);
    return names.some(
      (name) =>
        members.filter(({ vault, liar }) =>
          liar
            ? vault.seen.has(name)
            : vault.dealings.some((one) => one.name === name && one.used < this.limit),
        ).length >= threshold,
    );
  }

  /** The most attempts that any honest member counts. */
  mostSpent(): number {
    const honest = this.members.filter(({ liar, isForgetful }) => !liar && !isForgetful);
    return Math.max(0, ...honest.flatMap(({ vault }) => vault.dealings.map(({ used }) => used)));
  }

  /** Whether honest members have given all attempts back for some dealing that may have this password. */
  isFull({ members, threshold }: Fleet, password: string): boolean {
    const honest = members.filter(({ liar }) => !liar);
    const holding = (name: string) =>
      honest.flatMap(({ vault }) => vault.dealings.filter((one) => one.name === name && one.proven));
    const names = [...this.passwords]
      .filter(([, one]) => one === password || one === undefined)
      .map(([name]) => name);
    const provable = names.filter((name) => holding(name).length >= threshold);
    return provable.length === 0 || provable.some((name) => holding(name).every(({ used }) => used === 0));
  }

  /** @throws AssertionError if an honest member is called a liar */
  checkBlamed(urls: readonly string[]): void {
    for (const { url, liar, isForgetful } of this.members)
      assert.ok(liar || isForgetful || !urls.includes(url), `${url} is honest, and called a liar`);
  }

  checkClosed(): void {
    for (const { vault, liar, url } of this.members)
      assert.ok(liar || vault.attempts.size === 0, `an attempt is left open at ${url}`);
  }

  /** Lets time pass until all messages have arrived and vaults have ended open exchanges. */
  async expire(): Promise<void> {
    await this.wait(2 * LATEST);
    for (const { vault } of this.members) await vault.restart();
  }

  checkBound(): void {
    for (const { vault, liar, url } of this.members)
      assert.ok(liar || vault.guesses <= this.limit, `${url} evaluated ${vault.guesses} guesses`);
  }

  /** Settles when the client gives up at the latest. A message that is too slow may arrive after that. */
  #answer(url: URL, init?: RequestInit): Promise<Response> {
    const gaveUp = this.wait(TIMEOUT).then(() => {
      throw new TypeError('the client waited long enough');
    });
    gaveUp.catch(() => undefined);
    return Promise.race([this.#exchange(url, init), gaveUp]);
  }

  async #exchange({ hostname, pathname }: URL, init?: RequestInit): Promise<Response> {
    const { random } = this;
    const member = this.members.find(({ url }) => url === `http://${hostname}`) as Member;
    const method = init?.method ?? 'GET';
    const body = init?.body ? JSON.parse(init.body as string) : {};
    const isLost = () => !member.liar && random.chance(this.loss);
    await this.wait(this.#delay());
    if (isLost()) throw new TypeError('the request was lost');
    const sent: Sent = member.liar
      ? member.liar.answer(method, pathname, body)
      : { answer: await this.#clock.during(async () => member.vault.handle(method, pathname, body)) };
    await this.wait(this.#delay() + (sent.isSlow ? 3 * HEDGE : 0));
    const { answer } = sent;
    if (!answer || isLost()) throw new TypeError('the answer was lost');
    const isEmpty = answer.status === 204 || answer.json === undefined;
    return new Response(isEmpty ? null : JSON.stringify(answer.json), {
      status: answer.status,
      headers: { 'content-type': answer.status < 400 ? 'application/json' : 'application/problem+json' },
    });
  }

  /** Milliseconds that a message takes. In a lossy network, half of the slow ones come when nobody waits any more. */
  #delay(): number {
    const { random } = this;
    if (!random.chance(this.slowness)) return random.pick(HEDGE / 4);
    this.slowed++;
    return this.loss > 0 && random.chance(0.5)
      ? TIMEOUT + random.pick(TIMEOUT)
      : HEDGE + random.pick(3 * HEDGE);
  }
}

export interface Fleet {
  readonly members: readonly Member[];
  readonly threshold: number;
  readonly liars: number;
}

const definitionOf = ({ members, threshold, liars }: Fleet): FleetDefinition => ({
  vaults: members.map(({ url, vault: { serverPublicKey } }) => ({ url, serverPublicKey })),
  threshold,
  liars,
});
