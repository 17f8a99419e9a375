import { toProblem } from '../../src/http/problem.js';
import { endpoints } from '../../src/http/routes.js';
import { validate } from '../../src/http/schemas.js';
import { Records } from '../../src/keeper/records/index.js';
import type { AccountId, KeeperApi } from '../../src/keeper/vault/index.js';
import { Vault } from '../../src/keeper/vault/vault.js';
import { ERRORS } from '../../src/protocol/index.js';
import { MemoryToken } from '../support/memory-token.js';
import type { Answer, Body, Held, Kept } from './double.js';

const EXCHANGE_MS = 60_000;

/** One account at the keeper's own vault over a token in memory, called through the routes of HTTP. */
export class RealVault implements Kept {
  readonly seen = new Map<string, unknown>();
  readonly attempts = new Map<string, unknown>();
  guesses = 0;
  /** the dealings that it held at its last answer */
  dealings: Held[] = [];
  readonly #id: AccountId;
  readonly #token = new MemoryToken();
  /** dealings of registrations between their two messages */
  readonly #offers = new Map<string, string>();
  readonly #records: Promise<Records>;
  #vault: Promise<Vault>;

  constructor(
    account: string,
    readonly limit: number,
  ) {
    this.#id = { issuer: 'https://issuer.example', subject: account };
    this.#records = emptyRecords();
    this.#vault = this.#records.then((records) => this.#open(records));
  }

  get serverPublicKey(): Uint8Array {
    return this.#token.serverPublicKey;
  }

  #open(records: Records): Promise<Vault> {
    return Vault.open(this.#token, records, { maxAttempts: this.limit, exchangeLifetime: EXCHANGE_MS });
  }

  async restart(): Promise<void> {
    this.attempts.clear();
    this.#offers.clear();
    const [before, records] = await Promise.all([this.#vault, this.#records]);
    await before.close();
    this.#vault = this.#open(records);
    await this.#look();
  }

  /** Loses everything about the account. */
  async loseDatabase(): Promise<void> {
    await (await this.#vault).delete(this.#id);
    this.guesses = 0;
    await this.restart();
  }

  async end(): Promise<void> {
    await (await this.#vault).close();
    await (await this.#records).close();
  }

  async handle(method: string, path: string, body: Body): Promise<Answer> {
    const answer = await this.#ask(method, path, body);
    this.#note(path, body, answer);
    await this.#look();
    return answer;
  }

  async #ask(method: string, path: string, body: Body): Promise<Answer> {
    const [recoveryId] = /[\w-]{22}$/.exec(path) ?? [];
    const route = recoveryId ? '/v1/recovery/:recoveryId' : path;
    const endpoint = endpoints.find((one) => one.method === method.toLowerCase() && one.path === route);
    if (!endpoint) return { status: 404 };
    try {
      const checked = endpoint.body ? validate(endpoint.body, body) : {};
      const caller = { accessToken: '', requestId: '' };
      const params = recoveryId ? { recoveryId } : {};
      const json = await endpoint.handle({
        keeper: this.#keeper(await this.#vault),
        caller,
        body: checked as Record<string, string>,
        params,
      });
      return json ? { status: 200, json: json as Record<string, unknown> } : { status: 204 };
    } catch (error) {
      const { code, message } = toProblem(error);
      if (code === 'internal') throw error;
      return { status: ERRORS[code].status, json: { type: `urn:bkv:problem:${code}`, detail: message } };
    }
  }

  /** The keeper's methods after the check of the access token. */
  #keeper(vault: Vault): KeeperApi {
    const id = this.#id;
    const done = async (work: Promise<void>): Promise<undefined> => work.then(() => undefined);
    return {
      identity: async () => ({
        serverPublicKey: vault.serverPublicKey,
        maxAttempts: vault.maxAttempts,
        exchangeSeconds: vault.exchangeSeconds,
      }),
      status: () => vault.status(id),
      delete: () => done(vault.delete(id)),
      startRegistration: (call) => vault.startRegistration(id, call),
      finishRegistration: (call) => done(vault.finishRegistration(id, call)),
      startShare: (call) => vault.startShare(id, call),
      finishShare: (call) => done(vault.finishShare(id, call)),
      commitDealing: ({ dealing }) => done(vault.commitDealing(id, dealing)),
      withdrawDealing: ({ dealing }) => done(vault.withdrawDealing(id, dealing)),
      startRecovery: ({ dealing, ...login }) => vault.startRecovery(id, login, dealing),
      finishRecovery: ({ recoveryId, KE3 }) => vault.finishRecovery(id, recoveryId, KE3),
      abandonRecovery: ({ recoveryId }) => done(vault.abandonRecovery(id, recoveryId)),
    };
  }

  #note(path: string, body: Body, { status, json }: Answer): void {
    const { dealing, registrationId, recoveryId } = body as Record<string, string>;
    if (path.endsWith('/share/start') && json?.registrationId)
      this.#offers.set(String(json.registrationId), dealing as string);
    if (path.endsWith('/share/finish') && status < 400)
      this.seen.set(this.#offers.get(registrationId as string) as string, true);
    if (path.endsWith('/recovery/start') && status === 200) {
      this.guesses++;
      this.attempts.set(String(json?.recoveryId), true);
    }
    if (path.endsWith('/recovery/finish')) {
      if (status !== 503) this.attempts.delete(recoveryId as string);
      if (status === 200) this.guesses = 0;
    }
    this.attempts.delete(path.split('/').at(-1) as string);
  }

  async #look(): Promise<void> {
    const status = await (await this.#vault).status(this.#id);
    const held = status.state === 'registered' ? status.dealings : [];
    this.dealings = held.map(({ dealing, proven, attemptsRemaining }) => ({
      name: dealing,
      proven,
      used: this.limit - attemptsRemaining,
    }));
  }
}

async function emptyRecords(): Promise<Records> {
  const records = await Records.open(':memory:');
  await records.prepare();
  return records;
}
