import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import { randomNumbers, randomStream } from '../../rig/random.js';
import { FleetClient, type FleetDefinition, type FleetOptions } from '../../src/client/index.js';
import { DoubleVault } from './double.js';
import { Liar, type Random, type Sent } from './liar.js';
import { stretch } from './stretch.js';

const HEDGE = 4;
const ACCOUNT = 'alice';

interface Member {
  readonly url: string;
  readonly vault: DoubleVault;
  readonly liar?: Liar;
  /** honest, but its database gets lost now and then: one of the b too */
  readonly isForgetful: boolean;
}

/** A fleet's members, of which at most b are not to be relied upon, and who can be reached by `fetch`. */
export class Life {
  readonly random: Random;
  readonly members: Member[] = [];
  readonly limit: number;
  /** how likely a message of an honest member is lost */
  loss = 0;
  readonly #fetch = globalThis.fetch;
  /** the password of each dealing */
  readonly passwords = new Map<string, string>();

  constructor(readonly seed: string) {
    const numbers = randomNumbers(`life ${seed}`);
    const stream = randomStream(`bytes ${seed}`);
    this.random = {
      pick: (n) => Math.floor(numbers() * n),
      chance: (p) => numbers() < p,
      bytes: (n) => stream(n),
    };
    this.limit = 6 + this.random.pick(5);
    globalThis.fetch = (input, init) => this.#answer(new URL(String(input)), init);
  }

  end(): void {
    globalThis.fetch = this.#fetch;
  }

  addMember(isFaulty: boolean): Member {
    const vault = new DoubleVault(ACCOUNT, this.limit, this.random.bytes);
    const isForgetful = isFaulty && this.random.chance(0.2);
    const member = {
      url: `http://127.0.1.${this.members.length + 1}`,
      vault,
      isForgetful,
      ...(isFaulty && !isForgetful && { liar: new Liar(vault, this.random) }),
    };
    this.members.push(member);
    return member;
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
      stretch,
      ...options,
    });
  }

  /** Says of dealings that are new whose password they have. */
  label(password: string): void {
    for (const { vault } of this.members)
      for (const name of vault.seen.keys()) if (!this.passwords.has(name)) this.passwords.set(name, password);
  }

  /** Whether T members of the fleet could serve a dealing of this password: honest ones that have it, liars that had it. */
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

  /** Whether honest members that hold the newest dealing of the password, proven, have all attempts again. */
  isFull({ members, threshold }: Fleet, password: string): boolean {
    const honest = members.filter(({ liar }) => !liar);
    const holding = (name: string) =>
      honest.flatMap(({ vault }) => vault.dealings.filter((one) => one.name === name && one.proven));
    const names = [...this.passwords].filter(([, one]) => one === password).map(([name]) => name);
    const newest = names.sort().findLast((name) => holding(name).length >= threshold);
    return !newest || holding(newest).every(({ used }) => used === 0);
  }

  checkClosed(): void {
    for (const { vault, liar, url } of this.members)
      assert.ok(liar || vault.attempts.size === 0, `an attempt is left open at ${url}`);
  }

  /** Time passes: vaults end what nobody went on with. */
  expire(): void {
    for (const { vault } of this.members) vault.restart();
  }

  checkBound(): void {
    for (const { vault, liar, url } of this.members)
      assert.ok(liar || vault.guesses <= this.limit, `${url} evaluated ${vault.guesses} guesses`);
  }

  async #answer({ hostname, pathname }: URL, init?: RequestInit): Promise<Response> {
    const member = this.members.find(({ url }) => url === `http://${hostname}`) as Member;
    const method = init?.method ?? 'GET';
    const body = init?.body ? JSON.parse(init.body as string) : {};
    if (!member.liar && this.random.chance(this.loss)) throw new TypeError('the request was lost');
    const sent: Sent = member.liar
      ? member.liar.answer(method, pathname, body)
      : { answer: member.vault.handle(method, pathname, body), isSlow: this.random.chance(0.02) };
    if (sent.isSlow) await setTimeout(3 * HEDGE);
    else await undefined;
    const { answer } = sent;
    if (!answer || (!member.liar && this.random.chance(this.loss)))
      throw new TypeError('the answer was lost');
    const isEmpty = answer.status === 204 || answer.json === undefined;
    return new Response(isEmpty ? null : JSON.stringify(answer.json), {
      status: answer.status,
      headers: { 'content-type': answer.status < 400 ? 'application/json' : 'application/problem+json' },
    });
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
