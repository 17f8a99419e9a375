import { connect, type Socket } from 'node:net';
import { backOff } from '../../process/index.js';
import { CodedError, codeOfWire } from '../../protocol/terms.js';
import { decode, encode, Malformed, uint } from './fields.js';
import { type Frame, FrameParser, GREETING, KIND, sendFrame } from './frames.js';
import { type ArgumentsOf, FAILURE, type Methods, type ResultOf } from './messages.js';

function failureOf(body: Buffer): CodedError {
  const { wire, message, ...details } = decode(FAILURE, body);
  return new CodedError(codeOfWire(wire) ?? 'internal', message, details as object);
}

interface Pending {
  readonly method: string;
  readonly tell: (part: unknown) => void;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Milliseconds before the keeper is looked for again; the last one repeats. */
const BACK_OFF = [10, 20, 50, 100, 200, 500] as const;

const away = (): CodedError =>
  new CodedError('unavailable', 'the keeper does not answer; nothing is lost, try again', { retryAfter: 2 });
const cutOff = (): CodedError =>
  new CodedError('unavailable', 'the keeper ended before it answered; try again', { retryAfter: 2 });

/** Calls methods on a keeper's socket. Reconnects by itself if the connection is lost. */
export class SocketClient<M extends Methods> {
  readonly #pending = new Map<number, Pending>();
  #socket: Socket | undefined;
  #connected = false;
  #closed = false;
  #last = 0;
  #attempts = 0;
  #retry: NodeJS.Timeout | undefined;

  /** @param limit most bytes of a frame that comes back */
  constructor(
    readonly path: string,
    readonly methods: M,
    readonly limit: number,
  ) {
    this.#connect();
  }

  /** @throws CodedError what the keeper said, or `unavailable` */
  call<N extends keyof M & string>(
    method: N,
    given: ArgumentsOf<M[N]>,
    tell: (part: unknown) => void = () => undefined,
  ): Promise<ResultOf<M[N]>> {
    const socket = this.#socket;
    if (!socket || !this.#connected) return Promise.reject(away());
    const row = this.methods[method] as M[N];
    return new Promise((resolve, reject) => {
      this.#last = (this.#last + 1) % 2 ** 32;
      const call = this.#last;
      let body: Buffer;
      try {
        body = Buffer.concat([encode(uint(1), row.number), encode(row.arguments, given)]);
      } catch (error) {
        if (error instanceof Malformed) return reject(new CodedError('invalid-request', error.message));
        throw error;
      }
      this.#pending.set(call, { method, tell, resolve: resolve as (value: unknown) => void, reject });
      sendFrame(socket, { kind: KIND.request, call, body });
    });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#socket?.destroy();
  }

  #connect(): void {
    const socket = connect(this.path);
    const parser = new FrameParser(this.limit, false);
    this.#socket = socket;
    socket.on('connect', () => {
      this.#connected = true;
      this.#attempts = 0;
      socket.write(GREETING);
    });
    socket.on('data', (chunk) => {
      try {
        for (const frame of parser.push(chunk)) this.#answered(frame);
      } catch {
        socket.destroy();
      }
    });
    socket.on('error', () => undefined);
    socket.on('close', () => this.#lost());
  }

  #lost(): void {
    this.#connected = false;
    for (const { reject } of this.#pending.values()) reject(cutOff());
    this.#pending.clear();
    if (this.#closed) return;
    const wait = backOff(BACK_OFF, this.#attempts++);
    this.#retry = setTimeout(() => this.#connect(), wait);
  }

  #answered({ kind, call, body }: Frame): void {
    const pending = this.#pending.get(call);
    if (!pending) throw new Malformed('an answer to no call');
    const { method, tell, resolve, reject } = pending;
    const row = this.methods[method] as M[string];
    if (kind === KIND.part) {
      if (!row.part) throw new Malformed('no parts were expected');
      tell(decode(row.part, body));
      return;
    }
    this.#pending.delete(call);
    try {
      if (kind === KIND.answer) resolve(decode(row.result, body));
      else reject(failureOf(body));
    } catch (error) {
      reject(cutOff());
      throw error;
    }
  }
}
