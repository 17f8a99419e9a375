import { createDecipheriv } from 'node:crypto';
import { p256 } from '@noble/curves/nist.js';
import {
  equal,
  finishMac,
  generateKE2,
  identities,
  parseKE1,
  registrationKeys,
  startMac,
  xOf,
} from '../../src/protocol/index.js';
import { publicKeyOf, times } from './openssl.js';

const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
const decode = (text: string): Buffer => Buffer.from(text, 'base64url');

export interface Answer {
  readonly status: number;
  readonly json?: Record<string, unknown>;
}

export type Body = Readonly<Record<string, string | number>>;
/** A dealing, as far as the tests look at it. */
export interface Held {
  readonly name: string;
  readonly proven: boolean;
  readonly used: number;
}
/** A vault that keeps one account, as far as the tests look at it. */
export interface Kept {
  readonly serverPublicKey: Uint8Array;
  readonly dealings: readonly Held[];
  /** every dealing that was ever here */
  readonly seen: ReadonlyMap<string, unknown>;
  /** recoveries between their two messages */
  readonly attempts: ReadonlyMap<string, unknown>;
  /** evaluations since a password was last proven here */
  readonly guesses: number;
  handle(method: string, path: string, body: Body): Answer | Promise<Answer>;
  loseDatabase(): void | Promise<void>;
  restart(): void | Promise<void>;
  end?(): Promise<void>;
}
export interface Dealing {
  readonly name: string;
  /** index of the vault in the fleet, from 1 */
  readonly index: number;
  readonly share: Uint8Array;
  readonly record: Uint8Array;
  readonly sealed: string;
  proven: boolean;
  used: number;
  /** number of times that its attempts were given back. An attempt spent before cannot be given back again */
  resets: number;
}
/** A registration between its two messages. */
interface Offer {
  readonly dealing: string;
  readonly index: number;
  readonly keyshare: Uint8Array;
  readonly transport: Uint8Array;
  readonly startMac: Uint8Array;
  readonly finishKey: Uint8Array;
  isTaken: boolean;
}
interface Attempt {
  readonly held: Dealing;
  readonly spent: readonly { readonly held: Dealing; readonly resets: number }[];
  readonly KE3: Uint8Array;
}
const problem = (status: number, type: string): Answer => ({
  status,
  json: { type: `urn:bkv:problem:${type}`, title: type, status, detail: type },
});
const MOST = 4;
const NONE = new Uint8Array(0);

/**
 * One account at a fast vault in memory, without a token. It follows the rules of docs/fleet.md, and its messages are byte
 * for byte those of a real vault. Some lives run with {@link RealVault}, the keeper's own code, in its place.
 */
export class DoubleVault implements Kept {
  dealings: Dealing[] = [];
  /** every dealing that was ever here */
  readonly seen = new Map<string, Dealing>();
  exchangeSeconds = 60;
  /** number of next proofs that are refused as too late */
  late = 0;
  /** evaluations since a password was last proven here */
  guesses = 0;
  readonly attempts = new Map<string, Attempt>();
  /** the answers of ended logins, so that a repeated message gets the same answer */
  readonly #answered = new Map<string, { KE3: Uint8Array; answer: Answer }>();
  readonly #offers = new Map<string, Offer>();
  readonly #secretKey: Uint8Array;
  readonly serverPublicKey: Uint8Array;
  readonly #bytes: (n: number) => Uint8Array;

  constructor(
    readonly account: string,
    readonly limit: number,
    bytes: (n: number) => Uint8Array,
  ) {
    this.#bytes = bytes;
    this.#secretKey = this.#scalar();
    this.serverPublicKey = publicKeyOf(this.#secretKey);
  }

  #scalar(): Uint8Array {
    return p256.utils.randomSecretKey(this.#bytes(48));
  }
  get #live(): Dealing[] {
    return this.dealings.filter(({ used }) => used < this.limit);
  }
  get isLocked(): boolean {
    return this.dealings.length > 0 && this.#live.length === 0;
  }

  loseDatabase(): void {
    this.guesses = 0;
    this.dealings = [];
    this.restart();
  }
  restart(): void {
    this.attempts.clear();
    this.#answered.clear();
    this.#offers.clear();
  }

  handle(method: string, path: string, body: Body): Answer {
    const route = `${method} ${path.replace(/(recovery)\/[\w-]{22}$/, '$1/:id')}`;
    const last = path.split('/').at(-1) as string;
    switch (route) {
      case 'GET /v1/identity':
        return {
          status: 200,
          json: {
            serverPublicKey: encode(this.serverPublicKey),
            wireVersion: 2,
            exchangeSeconds: this.exchangeSeconds,
          },
        };
      case 'GET /v1/account':
        return this.#status();
      case 'DELETE /v1/account':
        this.dealings = [];
        return { status: 204 };
      case 'POST /v1/share/start':
        return this.#offer(body);
      case 'POST /v1/share/finish':
        return this.#share(body);
      case 'POST /v1/share/commit': {
        const held = this.#find(body.dealing as string);
        if (!held) return problem(404, 'unknown-exchange');
        if (!held.proven) return problem(409, 'dealing-conflict');
        this.dealings = [held];
        return { status: 204 };
      }
      case 'POST /v1/share/withdraw': {
        const held = this.#find(body.dealing as string);
        if (!held) return problem(404, 'unknown-exchange');
        if (held.proven) return problem(409, 'dealing-conflict');
        this.dealings = this.dealings.filter((one) => one !== held);
        return { status: 204 };
      }
      case 'POST /v1/recovery/start':
        return this.#start(body.dealing as string, decode(body.KE1 as string));
      case 'POST /v1/recovery/finish':
        return this.#finish(body.recoveryId as string, decode(body.KE3 as string));
      case 'DELETE /v1/recovery/:id':
        return this.attempts.delete(last) ? { status: 204 } : problem(404, 'unknown-exchange');
      default:
        return problem(404, 'not-found');
    }
  }

  #find(name: string): Dealing | undefined {
    return this.#live.find((one) => one.name === name);
  }

  #status(): Answer {
    const live = this.#live;
    const state = live.length > 0 ? 'registered' : this.isLocked ? 'locked' : 'unregistered';
    const dealings = live
      .map(({ name, proven, used }) => ({ dealing: name, proven, attemptsRemaining: this.limit - used }))
      .sort((a, b) => (a.dealing < b.dealing ? 1 : -1));
    return { status: 200, json: { state, maxAttempts: this.limit, dealings } };
  }

  #offer({ dealing, index, keyshare: X }: Body): Answer {
    const keyshare = decode(X as string);
    const transport = this.#scalar();
    const transportKey = publicKeyOf(transport);
    const registrationId = this.#bytes(16);
    const keys = registrationKeys(xOf(times(this.#secretKey, keyshare)));
    const mac = startMac(keys.start, {
      serverPublicKey: this.serverPublicKey,
      keyshare,
      account: this.account,
      registrationId,
      blindedElement: NONE,
      evaluatedElement: NONE,
      transportKey,
      limit: this.limit,
      dealt: { dealing: Buffer.from(dealing as string, 'hex'), index: index as number },
    });
    this.#offers.set(encode(registrationId), {
      dealing: dealing as string,
      index: index as number,
      keyshare,
      transport,
      startMac: mac,
      finishKey: keys.finish,
      isTaken: false,
    });
    const json = {
      registrationId: encode(registrationId),
      transportKey: encode(transportKey),
      limit: this.limit,
      mac: encode(mac),
    };
    return { status: 200, json };
  }

  #share(body: Body): Answer {
    const offer = this.#offers.get(body.registrationId as string);
    if (!offer) return problem(404, 'unknown-exchange');
    const { dealing, index } = offer;
    const record = decode(body.registrationRecord as string);
    const wrapped = decode(body.wrappedShare as string);
    const mac = finishMac(offer.finishKey, offer.startMac, {
      registrationRecord: record,
      encryptedBackupKey: decode(body.encryptedBackupKey as string),
      share: { wrapped, publicKey: decode(body.sharePublicKey as string) },
    });
    if (!equal(mac, decode(body.mac as string))) return problem(400, 'invalid-message');
    // A repeated message gets the same answer.
    if (offer.isTaken) return { status: 204 };
    if (this.#find(dealing)?.proven) return problem(409, 'dealing-conflict');
    const proven = this.#live.filter((one) => one.proven);
    if (proven.length >= MOST) return problem(409, 'dealing-conflict');
    const used = Math.max(0, ...this.#live.map((one) => one.used));
    const share = unwrap(xOf(times(offer.transport, offer.keyshare)), wrapped).subarray(-32);
    const made = {
      name: dealing,
      index,
      share,
      record,
      sealed: body.encryptedBackupKey as string,
      proven: false,
      used,
      resets: 0,
    };
    offer.isTaken = true;
    this.dealings = [...proven, made];
    this.seen.set(dealing, made);
    return { status: 204 };
  }

  #start(name: string, KE1: Uint8Array): Answer {
    const held = this.#find(name);
    if (!held) return this.isLocked ? problem(423, 'locked') : problem(404, 'unknown-exchange');
    this.guesses++;
    const spent = this.#live.map((one) => ({ held: one, resets: one.resets }));
    for (const one of spent) one.held.used++;
    return this.evaluate(held, KE1, spent);
  }

  /** The evaluation with a dealing, even one that the vault should no longer have. */
  evaluate(held: Dealing, KE1: Uint8Array, spent: Attempt['spent'] = []): Answer {
    const { blindedElement, clientKeyshare } = parseKE1(KE1);
    const ephemeral = this.#scalar();
    const { KE2, expectedKE3 } = generateKE2({
      ...identities(this.account, this.serverPublicKey),
      KE1,
      record: held.record,
      serverPublicKey: this.serverPublicKey,
      evaluatedElement: times(held.share, blindedElement),
      maskingNonce: this.#bytes(32),
      serverNonce: this.#bytes(32),
      serverKeyshare: publicKeyOf(ephemeral),
      dh1: times(ephemeral, clientKeyshare),
      dh2: times(this.#secretKey, clientKeyshare),
      dh3: times(ephemeral, held.record.subarray(0, 33)),
    });
    const recoveryId = encode(this.#bytes(16));
    this.attempts.set(recoveryId, { held, spent, KE3: expectedKE3 });
    return {
      status: 200,
      json: { recoveryId, KE2: encode(KE2), attemptsRemaining: Math.max(0, this.limit - held.used) },
    };
  }

  #finish(recoveryId: string, KE3: Uint8Array): Answer {
    const before = this.#answered.get(recoveryId);
    if (before && equal(before.KE3, KE3)) return before.answer;
    const answer = this.#judge(recoveryId, KE3);
    if (answer.status === 200) this.#answered.set(recoveryId, { KE3, answer });
    return answer;
  }

  #judge(recoveryId: string, KE3: Uint8Array): Answer {
    const attempt = this.attempts.get(recoveryId);
    this.attempts.delete(recoveryId);
    if (this.late > 0) {
      this.late--;
      return problem(410, 'exchange-expired');
    }
    if (!attempt) return problem(404, 'unknown-exchange');
    const { held } = attempt;
    if (!this.dealings.includes(held)) return problem(404, 'unknown-exchange');
    if (!equal(KE3, attempt.KE3)) return problem(403, 'wrong-password');
    this.guesses = 0;
    const open = [...this.attempts.values()].filter((one) =>
      one.spent.some((spent) => spent.held === held && spent.resets === held.resets),
    ).length;
    const own = attempt.spent.some((spent) => spent.held === held && spent.resets === held.resets) ? 1 : 0;
    const failedAttempts = held.used - own - open;
    for (const one of attempt.spent)
      if (one.held === held) Object.assign(held, { used: 0, proven: true, resets: held.resets + 1 });
      else if (one.held.resets === one.resets && one.held.used < this.limit) one.held.used--;
    return { status: 200, json: { encryptedBackupKey: held.sealed, failedAttempts } };
  }
}

/** RFC 5649 by OpenSSL. */
function unwrap(key: Uint8Array, wrapped: Uint8Array): Buffer {
  const decipher = createDecipheriv('id-aes256-wrap-pad', key, Buffer.from('A65959A6', 'hex'));
  return Buffer.concat([decipher.update(wrapped), decipher.final()]);
}
