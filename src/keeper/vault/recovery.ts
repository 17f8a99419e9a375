import { randomBytes, timingSafeEqual } from 'node:crypto';
import { generateKE2, parseKE1, parseRegistrationRecord } from '../../protocol/index.js';
import { type Ledger, type Slot, SlotClosed, wrappingKeyLabel } from '../ledger/index.js';
import { audit } from '../log/index.js';
import { attempts, pendingLogins } from '../metrics/index.js';
import { KEY_LABELS, type PrivateKey, type Token } from '../pkcs11/index.js';
import type { Row } from '../records/index.js';
import type { Accounts } from './accounts.js';
import { CONTEXT } from './context.js';
import { toElement } from './elements.js';
import { AccountLocked, UnknownExchange, WrongPassword } from './errors.js';
import { Exchanges } from './exchanges.js';
import type { Lifecycle } from './lifecycle.js';
import type { UnknownAccounts } from './unknown.js';

/** What a login is answered from: an account's row, or what stands in for one. */
export interface Credential {
  readonly key: PrivateKey;
  /** 129 bytes */
  readonly record: Uint8Array;
  readonly encryptedBackupKey: Uint8Array;
}

/** An attempt that is decided on; the token has it when `durable` resolves. */
export interface Spent {
  readonly attemptsRemaining: number;
  readonly durable: Promise<unknown>;
}

/** A recovery between its two messages. */
export interface Recovery {
  readonly account: string;
  /** the slots an attempt was spent on, the one to be proven first; none for an unknown account */
  readonly slots: readonly Slot[];
  readonly attemptsRemaining: number;
  readonly expectedKE3: Uint8Array;
  readonly encryptedBackupKey: Uint8Array;
}

/** The client's first message, its elements checked and decompressed. */
export interface Login {
  readonly KE1: Uint8Array;
  /** 65 bytes each */
  readonly blindedElement: Uint8Array;
  readonly clientKeyshare: Uint8Array;
}

/** @param KE1 98 bytes @throws InvalidMessage */
export function readLogin(KE1: Uint8Array): Login {
  const { blindedElement, clientKeyshare } = parseKE1(KE1);
  return { KE1, blindedElement: toElement(blindedElement), clientKeyshare: toElement(clientKeyshare) };
}

const credentialOf = (row: Row): Credential => ({
  key: { wrapped: row.wrappedKey, wrappingKey: wrappingKeyLabel(row), publicKey: row.publicKey },
  record: row.registrationRecord,
  encryptedBackupKey: row.encryptedBackupKey,
});

/** Of an account's live rows the one that a login asks for, with those after it that an attempt is spent on too. */
function chosen(rows: readonly Row[], dealing: string): readonly Row[] {
  const row = rows.find((one) => one.dealing === dealing);
  return row ? [row, ...rows.filter((other) => other !== row)] : [];
}

/** Logins: an attempt is spent before anything leaves the vault, and a proof gives all attempts back. */
export class Recoveries {
  readonly #token: Token;
  readonly #ledger: Ledger;
  readonly #accounts: Accounts;
  readonly #unknown: UnknownAccounts;
  readonly #lifecycle: Lifecycle;
  readonly #serverPublicKey: Uint8Array;
  readonly open: Exchanges<Recovery>;

  constructor(
    token: Token,
    ledger: Ledger,
    accounts: Accounts,
    unknown: UnknownAccounts,
    lifecycle: Lifecycle,
    { serverPublicKey, lifetime }: { serverPublicKey: Uint8Array; lifetime: number },
  ) {
    this.#token = token;
    this.#ledger = ledger;
    this.#accounts = accounts;
    this.#unknown = unknown;
    this.#lifecycle = lifecycle;
    this.#serverPublicKey = serverPublicKey;
    this.open = new Exchanges(lifetime, (recovery) => {
      lifecycle.request(() => this.fail(recovery, 'expired')).catch(() => undefined);
    });
  }

  /** @throws AccountLocked when no attempt is left */
  async start(account: string, login: Login, dealing: string) {
    const standIn = this.#unknown.credential(account);
    const spentOn = chosen(await this.#accounts.current(account), dealing);
    const [row] = spentOn;
    const credential = row ? credentialOf(row) : standIn;
    const { attemptsRemaining, durable } = row ? this.#spend(spentOn) : this.#unknown.spend(account);
    const { KE2, expectedKE3 } = await this.#answer(login, credential, durable);
    const recoveryId = this.open.add({
      account,
      slots: spentOn.map(({ slot, generation }) => ({ slot, generation })),
      attemptsRemaining,
      expectedKE3,
      encryptedBackupKey: credential.encryptedBackupKey,
    });
    pendingLogins.set(this.open.size);
    return { recoveryId, KE2, attemptsRemaining };
  }

  /** The evaluation is made while the token takes the counter, and leaves only when the token has it. */
  async #answer({ KE1, ...elements }: Login, { key, record }: Credential, durable: Promise<unknown>) {
    const { clientPublicKey } = parseRegistrationRecord(record);
    const [evaluation] = await Promise.all([
      this.#token.call('login', key, { label: KEY_LABELS.static }, { ...elements, clientPublicKey }),
      durable,
    ]);
    const { KE2, expectedKE3, sessionKey } = generateKE2({
      context: CONTEXT,
      KE1,
      record,
      serverPublicKey: this.#serverPublicKey,
      ...evaluation,
      maskingNonce: randomBytes(32),
      serverNonce: randomBytes(32),
    });
    for (const secret of [evaluation.dh1, evaluation.dh2, evaluation.dh3, sessionKey]) secret.fill(0);
    return { KE2, expectedKE3 };
  }

  /** @throws UnknownExchange */
  take(account: string, recoveryId: string): Recovery {
    const recovery = this.open.take(recoveryId, account);
    if (!recovery) throw new UnknownExchange('this recovery is not under way; start again');
    return recovery;
  }

  /** @param KE3 32 bytes @returns the encrypted backup key @throws WrongPassword */
  async finish(recovery: Recovery, KE3: Uint8Array): Promise<Uint8Array> {
    const { account, slots, expectedKE3, encryptedBackupKey, attemptsRemaining } = recovery;
    const [slot] = slots;
    const proven = KE3.length === expectedKE3.length && timingSafeEqual(KE3, expectedKE3);
    expectedKE3.fill(0);
    if (!proven || !slot) {
      await this.fail(recovery, 'failed');
      throw new WrongPassword(attemptsRemaining);
    }
    await this.#ledger.restore(slot);
    attempts.inc({ end: 'proven' });
    audit('recovered', { account });
    return encryptedBackupKey;
  }

  /** An attempt ended without proof. At the limit, once no other attempt is open, the account is locked. */
  async fail({ account, slots, attemptsRemaining }: Recovery, end: 'failed' | 'expired'): Promise<void> {
    pendingLogins.set(this.open.size);
    attempts.inc({ end });
    audit('attempt failed', { account, attemptsRemaining });
    await this.#accounts.inTurn(account, async () => {
      const open = this.open.of(account);
      if (slots.length === 0 && open.length === 0) await this.#unknown.lock(account);
      for (const slot of slots) {
        const now = this.#ledger.state(slot);
        const isOpen = open.some((other) => other.slots.some((one) => one.slot === slot.slot));
        if (now.state === 'live' && now.used >= this.#ledger.maxAttempts && !isOpen)
          await this.#accounts.lock(account, slot, (work) => this.#lifecycle.request(work));
      }
    });
  }

  /** @throws AccountLocked when the first has no attempt left; the others then are passed over */
  #spend([row, ...others]: readonly Row[]): Spent {
    try {
      const spent = this.#ledger.spend(row as Row);
      const alsoDurable = others.flatMap((other) => {
        const now = this.#ledger.state(other);
        return now.state === 'live' && now.used < this.#ledger.maxAttempts
          ? this.#ledger.spend(other).durable
          : [];
      });
      return { ...spent, durable: Promise.all([spent.durable, ...alsoDurable]) };
    } catch (error) {
      if (error instanceof SlotClosed && error.state === 'locked') throw new AccountLocked();
      throw error;
    }
  }
}
