import { p256 } from '@noble/curves/nist.js';
import type { Conspiracy } from './conspiracy.js';
import type { Answer, DoubleVault } from './double.js';

export interface Random {
  /** from 0 to below n */
  pick(n: number): number;
  chance(p: number): boolean;
  bytes(n: number): Uint8Array;
}

/** The answer that a member sends. `undefined` is lost. */
export interface Sent {
  readonly answer: Answer | undefined;
  /** whether it takes so long that the client asks another vault */
  readonly isSlow?: boolean;
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
const point = (random: Random): Uint8Array =>
  p256.Point.BASE.multiplyUnsafe(BigInt(2 + random.pick(1000))).toBytes(true);

/** A member that answers as it likes. It replaces, drops, repeats, delays, swaps and reorders, and never forgets a share. */
export class Liar {
  readonly #history: { route: string; json: Record<string, unknown> }[] = [];
  /** probability that it lies, 0 to 1, which changes now and then */
  #temper = 0.3;

  constructor(
    readonly vault: DoubleVault,
    readonly random: Random,
    readonly conspiracy: Conspiracy | undefined,
  ) {
    conspiracy?.join(vault);
  }

  answer(method: string, path: string, body: Record<string, never>): Sent {
    const { random } = this;
    if (random.chance(0.05)) this.#temper = [0, 0.1, 0.5, 0.9][random.pick(4)] as number;
    if (random.chance(0.01)) this.vault.restart();
    const honest = this.vault.handle(method, path, body);
    if (this.conspiracy && path === '/v1/recovery/start' && random.chance(0.8)) {
      const agreed = this.#conspire(this.conspiracy, body);
      if (agreed) return { answer: agreed };
    }
    const route = path.replace(/recovery\/[\w-]{22}$/, 'recovery/:id');
    if (honest.json && this.#history.length < 200) this.#history.push({ route, json: honest.json });
    if (route === '/v1/identity' ? !random.chance(this.#temper / 10) : !random.chance(this.#temper))
      return { answer: honest };
    return this.#lie(route, body, honest);
  }

  #lie(route: string, body: Record<string, never>, honest: Answer): Sent {
    const { random } = this;
    switch (random.pick(10)) {
      case 0:
        return { answer: undefined };
      case 1:
        return { answer: honest, isSlow: true };
      case 2: {
        const same = this.#history.filter((one) => one.route === route);
        const some = random.chance(0.8) ? same : this.#history;
        return { answer: { status: 200, json: some[random.pick(some.length)]?.json ?? {} } };
      }
      case 3:
        return { answer: this.#status() };
      case 4:
      case 5:
        if (route === '/v1/recovery/start') return { answer: this.#serveOld(body) ?? honest };
        if (route === '/v1/account') return { answer: { status: 200, json: this.#claim() } };
        // It claims to have done what it refused.
        return { answer: honest.status >= 400 ? { status: 204 } : honest };
      default:
        return { answer: { ...honest, json: this.#twist(honest.json ?? {}) as Record<string, unknown> } };
    }
  }

  #status(): Answer {
    const status = [200, 204, 302, 401, 404, 409, 423, 429, 500, 503][this.random.pick(10)] as number;
    const type = ['locked', 'wrong-password', 'unknown-exchange', 'unavailable', 'x'][this.random.pick(5)];
    return { status, json: { type: `urn:bkv:problem:${type}`, detail: 'so it is', attemptsRemaining: 0 } };
  }

  #conspire(conspiracy: Conspiracy, body: Record<string, never>): Answer | undefined {
    const held = this.vault.seen.get(body.dealing as unknown as string);
    const KE1 = Buffer.from(body.KE1 as unknown as string, 'base64url');
    return held && this.vault.evaluate({ ...held, share: conspiracy.shareOf(held) }, KE1);
  }

  /** Evaluates with a share that it should have destroyed, or with another one than was asked for. */
  #serveOld(body: Record<string, never>): Answer | undefined {
    const { vault, random } = this;
    const all = [...vault.seen.values()];
    const asked = vault.seen.get(body.dealing as unknown as string);
    const held = asked && random.chance(0.7) ? asked : all[random.pick(all.length)];
    return held && vault.evaluate(held, Buffer.from(body.KE1 as unknown as string, 'base64url'));
  }

  #claim(): Record<string, unknown> {
    const { vault, random } = this;
    const names = [...vault.seen.keys()];
    const tag = names[0]?.slice(8, 16) ?? '00000000';
    const made = `${['00000000', '00000009', 'ffffffff'][random.pick(3)]}${tag}${'0'.repeat(16)}`;
    const some = [names, [], [made], [...names, made], names.slice(-1), [...names, ...names], ['password']][
      random.pick(7)
    ] as string[];
    return {
      state: ['registered', 'unregistered', 'locked'][random.pick(3)],
      maxAttempts: vault.limit,
      dealings: some.map((dealing) => ({
        dealing,
        proven: random.chance(0.7),
        attemptsRemaining: random.pick(vault.limit + 1),
      })),
    };
  }

  /** Changes one field somewhere. */
  #twist(value: unknown): unknown {
    const { random } = this;
    if (Array.isArray(value)) {
      if (value.length === 0 || random.chance(0.3))
        return [[], [...value, ...value], [...value].reverse(), value.slice(1)][random.pick(4)];
      const at = random.pick(value.length);
      return value.map((one, i) => (i === at ? this.#twist(one) : one));
    }
    if (value !== null && typeof value === 'object') {
      const names = Object.keys(value);
      if (names.length === 0) return { nothing: true };
      const name = names[random.pick(names.length)] as string;
      const { [name]: one, ...rest } = value as Record<string, unknown>;
      return random.chance(0.15) ? rest : { ...rest, [name]: this.#twist(one) };
    }
    if (typeof value === 'string' && random.chance(0.75)) return this.#twistText(value);
    if (typeof value === 'number' && random.chance(0.7))
      return [value + 1, value - 1, -1, 0, 2 ** 53, 0.5][random.pick(6)];
    if (typeof value === 'boolean') return !value;
    return [null, 0, '', 'AAAA', [], {}, true, 'f'.repeat(32)][random.pick(8)];
  }

  #twistText(value: string): string {
    const { random } = this;
    const bytes = Buffer.from(value, 'base64url');
    switch (random.pick(6)) {
      case 0:
        return value.slice(1 + random.pick(4));
      case 1:
        return `${value}AA`;
      case 2:
        return text(random.bytes(bytes.length));
      case 3: {
        if (bytes.length > 0) bytes[random.pick(bytes.length)] = random.pick(256);
        return text(bytes);
      }
      default: {
        // Put a valid point in the place of the first one, or sometimes of the server's key share, at byte 194 of a KE2.
        if (bytes.length >= 33)
          bytes.set(point(random), random.chance(0.2) && bytes.length === 259 ? 194 : 0);
        return text(bytes);
      }
    }
  }
}
