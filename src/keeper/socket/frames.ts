import type { Socket } from 'node:net';
import { Malformed } from './fields.js';

/**
 * A frame is length u32 ‖ kind u8 ‖ call u32 ‖ body; the length is that of everything after it. The caller
 * sends {@link GREETING} first. A call gets any number of `part`s, and then one `answer` or `failure`.
 */
export const KIND = { request: 1, answer: 2, failure: 3, part: 4 } as const;
const KINDS: ReadonlySet<number> = new Set(Object.values(KIND));

/** The two sides talk only if both have the same version. */
export const GREETING = Buffer.from('bkv keeper 2\n');

/** kind and call */
const HEAD = 5;

export interface Frame {
  readonly kind: number;
  /** number that the caller gave the call */
  readonly call: number;
  readonly body: Buffer;
}

export function encodeFrame({ kind, call, body }: Frame): Buffer {
  const frame = Buffer.allocUnsafe(4 + HEAD + body.length);
  frame.writeUInt32BE(HEAD + body.length, 0);
  frame.writeUInt8(kind, 4);
  frame.writeUInt32BE(call, 5);
  body.copy(frame, 4 + HEAD);
  return frame;
}

/**
 * Frames of one turn of the event loop are sent together, because a system call costs as much as what it
 * carries.
 */
export function sendFrame(socket: Socket, frame: Frame): void {
  socket.cork();
  socket.write(encodeFrame(frame));
  setImmediate(() => socket.uncork());
}

/** Cuts a stream of bytes into frames, whatever pieces it arrives in. */
export class FrameParser {
  #rest: Buffer[] = [];
  #length = 0;
  #greeted: boolean;

  /** @param limit bytes of a frame @param greeting whether {@link GREETING} comes first */
  constructor(
    readonly limit: number,
    greeting: boolean,
  ) {
    this.#greeted = !greeting;
  }

  /**
   * @throws Malformed for a frame that is too long, has an unknown kind or no complete head, as soon as its
   * head has arrived
   */
  *push(chunk: Buffer): Generator<Frame> {
    this.#rest.push(chunk);
    this.#length += chunk.length;
    if (!this.#greeted) {
      if (this.#length < GREETING.length) return;
      if (!this.#take(GREETING.length).equals(GREETING)) throw new Malformed('no greeting');
      this.#greeted = true;
    }
    for (;;) {
      if (this.#length < 4) return;
      const length = this.#peek();
      if (length < HEAD || length > this.limit) throw new Malformed(`a frame of ${length} bytes`);
      if (this.#length < 4 + length) return;
      const frame = this.#take(4 + length);
      const kind = frame.readUInt8(4);
      if (!KINDS.has(kind)) throw new Malformed(`a frame of kind ${kind}`);
      yield { kind, call: frame.readUInt32BE(5), body: frame.subarray(4 + HEAD) };
    }
  }

  #peek(): number {
    if ((this.#rest[0] as Buffer).length < 4) this.#rest = [Buffer.concat(this.#rest)];
    return (this.#rest[0] as Buffer).readUInt32BE(0);
  }

  #take(length: number): Buffer {
    const all = this.#rest.length === 1 ? (this.#rest[0] as Buffer) : Buffer.concat(this.#rest);
    const rest = all.subarray(length);
    this.#rest = rest.length > 0 ? [rest] : [];
    this.#length = rest.length;
    return all.subarray(0, length);
  }
}
