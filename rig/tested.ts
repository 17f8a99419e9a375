/** The client's side of a registration and of a recovery, without its stretching, whatever carries the messages. */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { Shredded } from '../src/keeper/vault/index.js';
import {
  createRegistrationRequest,
  deriveKeyPair,
  diffieHellman,
  finalizeRegistration,
  finishMac,
  generateKE1,
  generateKE3,
  identities,
  registrationKeys,
  xOf,
} from '../src/protocol/index.js';

/** No stretching: it is the client's work, and is left out when the vault is tested or measured. */
export const identity = async (output: Uint8Array): Promise<Uint8Array> => output.slice();

/** Over HTTP, bytes are base64url. */
type Fields = Record<string, Uint8Array | string | number | boolean | undefined>;
const bytes = (field: Fields[string]): Uint8Array =>
  typeof field === 'string' ? Buffer.from(field, 'base64url') : (field as Uint8Array);

/** A vault as a client of one account reaches it. */
export interface Reached {
  readonly account: string;
  ask(
    method: 'startRegistration' | 'finishRegistration' | 'startRecovery' | 'finishRecovery',
    given: Fields,
  ): Promise<Fields>;
}

/** A vault in its own processes, asked as clients ask it. */
export abstract class TestedVault {
  /** base64url */
  serverPublicKey = '';

  abstract reach(account: string): Promise<Reached>;
  abstract abandon(account: string, recoveryId: string): Promise<{ readonly status: number }>;
  /** What the vault says about an account. */
  abstract status(account: string): Promise<{ state: string; attemptsRemaining?: number | undefined }>;
  abstract delete(account: string): Promise<void>;
  /** Has page keys destroyed. @returns the report on each page */
  abstract shred(options?: { all?: boolean; abandonLost?: boolean }): Promise<Shredded[]>;
  abstract ready(): Promise<boolean>;
  abstract stop(signal?: NodeJS.Signals): Promise<number | null>;
  /** What it logged. */
  logs = '';

  /** Ends the wait for open exchanges by a second signal. If it came while the process is ending, it would kill it. */
  protected async hurry(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
    for (let i = 0; i < 50 && !this.logs.includes('waiting for what is open'); i++) await setTimeout(20);
    child.kill(signal);
  }

  /** Registers without stretching, and replaces an existing key. @throws HttpFailure, CodedError */
  async register(account: string, password: string): Promise<void> {
    const vault = await this.reach(account);
    const secret = Buffer.from(password);
    const { blind, registrationRequest } = createRegistrationRequest(secret);
    const share = deriveKeyPair(randomBytes(32));
    const started = await vault.ask('startRegistration', { registrationRequest, keyshare: share.publicKey });
    const serverPublicKey = bytes(this.serverPublicKey);
    const { registrationRecord } = await finalizeRegistration(
      secret,
      blind,
      bytes(started.registrationResponse),
      identity,
      identities(account, serverPublicKey),
    );
    const encryptedBackupKey = Buffer.alloc(60);
    const { finish } = registrationKeys(xOf(diffieHellman(share.secretKey, serverPublicKey)));
    const record = { registrationRecord, encryptedBackupKey, replace: true };
    await vault.ask('finishRegistration', {
      registrationId: started.registrationId,
      ...record,
      mac: finishMac(finish, bytes(started.mac), record),
    });
  }

  /**
   * First half of a recovery: spends an attempt. `prove` is the second half, which throws for a wrong password;
   * `abandon` ends it without.
   */
  async startRecovery(account: string, password: string) {
    const { attemptsRemaining, recoveryId, prepareProof } = await (
      await this.prepareRecovery(account, password)
    )();
    return {
      attemptsRemaining,
      prove: async () => (await prepareProof())(),
      abandon: () => this.abandon(account, recoveryId),
    };
  }

  /**
   * The same, with the client's computing separate from the requests, so that the requests can be measured.
   */
  async prepareRecovery(account: string, password: string, login = generateKE1(Buffer.from(password))) {
    const vault = await this.reach(account);
    return async () => {
      const started = await vault.ask('startRecovery', { KE1: login.KE1 });
      const recoveryId = started.recoveryId as string;
      return {
        recoveryId,
        attemptsRemaining: Number(started.attemptsRemaining),
        prepareProof: async () => {
          const names = identities(account, bytes(this.serverPublicKey));
          const { KE3 } = await generateKE3(login, bytes(started.KE2), identity, names);
          return () => vault.ask('finishRecovery', { recoveryId, KE3 });
        },
      };
    };
  }

  /** Waits until the vault is ready, or until it is not. @throws when that takes longer than ten seconds */
  async until(ready: boolean): Promise<void> {
    for (let i = 0; i < 200; i++) {
      if ((await this.ready()) === ready) return;
      await setTimeout(50);
    }
    throw new Error(`it did not become ${ready ? 'ready' : 'unready'}: ${this.logs.slice(-2000)}`);
  }
}
