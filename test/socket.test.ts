import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import fc from 'fast-check';
import { seed } from '../rig/random.js';
import { decode, encode, Malformed } from '../src/keeper/socket/fields.js';
import { encodeFrame, FrameParser, GREETING, KIND } from '../src/keeper/socket/frames.js';
import { connectKeeper, SocketServer } from '../src/keeper/socket/index.js';
import { API, REQUEST_LIMIT } from '../src/keeper/socket/messages.js';
import type { KeeperApi } from '../src/keeper/vault/index.js';
import { CodedError, ERRORS } from '../src/protocol/index.js';

const caller = { accessToken: 'a.b.c', requestId: 'r' };
const status = (call: number, requestId = 'r'): Buffer =>
  encodeFrame({
    kind: KIND.request,
    call,
    body: Buffer.concat([
      Buffer.from([API.status.number]),
      encode(API.status.arguments, { caller: { ...caller, requestId } }),
    ]),
  });

describe(`the keeper's socket (BKV_SEED=${seed})`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'bkv-socket-'));
  const path = join(folder, 'keeper.sock');
  let server: SocketServer<typeof API>;
  /** Ids of the calls that came, in order. The functions in `held` let held calls end. */
  let came: string[] = [];
  let held: (() => void)[] = [];
  let holding = false;
  const sockets: Socket[] = [];

  const api = {
    status: async (call: { caller: { requestId: string } }) => {
      came.push(call.caller.requestId);
      if (call.caller.requestId === 'wrong')
        throw new CodedError('wrong-password', 'wrong', { attemptsRemaining: 7 });
      if (call.caller.requestId === 'broken') throw new TypeError('a secret');
      if (holding) await new Promise<void>((resolve) => held.push(resolve));
      return { state: 'unregistered' };
    },
  } as unknown as KeeperApi;

  const open = (): Socket => {
    const socket = connect(path).on('error', () => undefined);
    sockets.push(socket);
    return socket;
  };
  const closed = (socket: Socket) => new Promise((resolve) => socket.once('close', resolve));
  /** Sends bytes as a caller that was taken over could. @returns whether the keeper hung up */
  const hangsUp = async (bytes: Uint8Array): Promise<boolean> => {
    const socket = open();
    socket.resume().write(bytes);
    const end = await Promise.race([closed(socket).then(() => true), setTimeout(300, false)]);
    socket.destroy();
    return end;
  };

  const listen = () =>
    SocketServer.listen(API, api as never, { path, mode: 0o600, connections: 8, open: 8, running: 4 });

  beforeEach(async () => {
    came = [];
    held = [];
    holding = false;
    server = await listen();
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    for (const free of held) free();
    await server.close(0);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('is accessible to its owner only', () => {
    assert.equal(statSync(path).mode & 0o777, 0o600);
  });

  it('carries answers, and errors with code and details; of an unforeseen error, nothing else', async () => {
    const keeper = connectKeeper(path);
    const ask = async (requestId: string) => keeper.status({ caller: { ...caller, requestId } });
    while (!(await ask('first').catch(() => undefined))) await setTimeout(5);
    assert.deepEqual(await ask('one'), { state: 'unregistered' });
    await assert.rejects(ask('wrong'), (error: CodedError) => {
      assert.deepEqual(
        [error.code, error.message, error.details.attemptsRemaining],
        ['wrong-password', 'wrong', 7],
      );
      return true;
    });
    await assert.rejects(
      ask('broken'),
      (error: CodedError) => error.code === 'internal' && !/secret/.test(error.message),
    );
    keeper.disconnect();
  });

  it('tells a caller whose keeper ended that the outcome is unknown, and finds the next keeper', async () => {
    const keeper = connectKeeper(path);
    while (!(await keeper.status({ caller }).catch(() => undefined))) await setTimeout(5);
    holding = true;
    const cut = assert.rejects(keeper.status({ caller }), { code: 'unavailable' });
    while (held.length === 0) await setTimeout(5);
    await server.close(0);
    await cut;
    await assert.rejects(keeper.status({ caller }), { code: 'unavailable' });
    holding = false;
    server = await listen();
    while (!(await keeper.status({ caller }).catch(() => undefined))) await setTimeout(5);
    keeper.disconnect();
  });

  it('replaces a socket that a killed keeper left, but none of a living keeper', async () => {
    await assert.rejects(listen(), {
      code: 'usage',
    });
  });

  it('understands frames in pieces of any size', async () => {
    const bytes = Buffer.concat([GREETING, status(1), status(2), status(3)]);
    await fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 80 }), { minLength: 1 }), (sizes) => {
        const parser = new FrameParser(REQUEST_LIMIT, true);
        const calls: number[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const next = at + (sizes[i % sizes.length] as number);
          for (const { call } of parser.push(bytes.subarray(at, next))) calls.push(call);
          at = next;
        }
        assert.deepEqual(calls, [1, 2, 3]);
      }),
      { seed },
    );
    const socket = open();
    for (const byte of bytes) {
      socket.write(Buffer.from([byte]));
      await setTimeout(0);
    }
    while (came.length < 3) await setTimeout(5);
  });

  it('hangs up on a caller that sends no greeting, another version, or a frame too long, too short, or of no known kind or method', async () => {
    const framed = (length: number, kind: number, body: Buffer) => {
      const bytes = Buffer.concat([Buffer.alloc(9), body]);
      bytes.writeUInt32BE(length, 0);
      bytes[4] = kind;
      return Buffer.concat([GREETING, bytes]);
    };
    assert.ok(await hangsUp(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')));
    assert.ok(await hangsUp(Buffer.from('bkv keeper 9\n')));
    assert.ok(await hangsUp(framed(REQUEST_LIMIT + 1, 1, Buffer.alloc(0))), 'before the body has come');
    assert.ok(await hangsUp(framed(0xffffffff, 1, Buffer.alloc(0))));
    assert.ok(await hangsUp(framed(4, 1, Buffer.alloc(0))));
    assert.ok(await hangsUp(framed(6, 9, Buffer.from([1]))));
    assert.ok(await hangsUp(framed(6, KIND.answer, Buffer.from([1]))), 'an answer in place of a request');
    assert.ok(await hangsUp(framed(6, 1, Buffer.from([99]))));
    assert.ok(await hangsUp(framed(5, 1, Buffer.alloc(0))));
    const longer = Buffer.concat([status(1), Buffer.from([0])]);
    longer.writeUInt32BE(longer.length - 4, 0);
    assert.ok(await hangsUp(Buffer.concat([GREETING, longer])), 'a byte more than the schema has');
    const unseen = Buffer.from(status(1, 'xyz').toString('latin1').replace('xyz', '\xe2\x80\xa8'), 'latin1');
    assert.ok(
      await hangsUp(Buffer.concat([GREETING, unseen])),
      'a request id that would break a line of a log',
    );
    assert.ok(!(await hangsUp(Buffer.concat([GREETING, status(1)]))), 'a good one is served');
  });

  it('does nothing that came together with a frame that it refused, behind it', async () => {
    const refused = encodeFrame({ kind: KIND.request, call: 2, body: Buffer.from([99]) });
    assert.ok(await hangsUp(Buffer.concat([GREETING, status(1, 'before'), refused, status(3, 'behind')])));
    assert.deepEqual(came, ['before']);
  });

  it('accepts nothing that the schema does not allow, however bytes are changed, cut or added', async () => {
    const good = status(1).subarray(9 + 1);
    await fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(good.length), (noise, at) => {
        for (const body of [Buffer.from(noise), Buffer.concat([good.subarray(0, at), noise])])
          for (const { arguments: schema } of Object.values(API))
            try {
              const value = decode(schema as never, body);
              // Bytes that are accepted are those that an honest caller writes for that value.
              assert.deepEqual(encode(schema as never, value), body);
            } catch (error) {
              assert.ok(error instanceof Malformed, `${error}`);
            }
      }),
      { seed, numRuns: 2000 },
    );
  });

  it('does not log each caller of many that it hangs up on', async () => {
    const { write } = process.stderr;
    let lines = 0;
    process.stderr.write = ((text: string) => {
      lines += String(text).split('was disconnected').length - 1;
      return true;
    }) as typeof write;
    const begun = performance.now();
    try {
      for (let i = 0; i < 60; i++) assert.ok(await hangsUp(Buffer.from('garbage, not a greeting\n')));
    } finally {
      process.stderr.write = write;
    }
    assert.ok(lines <= 1 + (performance.now() - begun) / 1000, `${lines} lines`);
  });

  it('makes a flooding caller wait, and no other', async () => {
    holding = true;
    const flood = open();
    flood.write(Buffer.concat([GREETING, ...Array.from({ length: 5000 }, (_, i) => status(i, 'flood'))]));
    while (held.length < 4) await setTimeout(5);
    const other = open();
    other.write(Buffer.concat([GREETING, status(1, 'other')]));
    await setTimeout(50);
    // When two calls end, one call of each caller starts.
    held.shift()?.();
    held.shift()?.();
    while (!came.includes('other')) await setTimeout(5);
    // The other caller had its turn at once, although thousands of calls were waiting.
    assert.ok(came.indexOf('other') < 6, `${came.indexOf('other')}th`);
    holding = false;
    for (const free of held.splice(0)) free();
  });

  it('cannot be filled with connections: existing ones go on, and the keeper hangs up on a further one', async () => {
    const keeper = connectKeeper(path);
    while (!(await keeper.status({ caller }).catch(() => undefined))) await setTimeout(5);
    const others = Array.from({ length: 40 }, () => {
      const socket = open();
      socket.resume().write(GREETING);
      return socket;
    });
    while (others.filter((socket) => socket.closed).length < 33) await setTimeout(5);
    assert.deepEqual(await keeper.status({ caller }), { state: 'unregistered' });
    assert.equal(others.filter((socket) => !socket.closed).length, 7);
    for (const socket of others) socket.destroy();
    while (await hangsUp(Buffer.concat([GREETING, status(1)]))) await setTimeout(5);
    keeper.disconnect();
  });

  it('stops reading from a caller that does not read its answers, and serves others', async () => {
    const socket = open();
    socket.pause();
    socket.write(GREETING);
    for (let i = 0; i < 40; i++)
      socket.write(Buffer.concat(Array.from({ length: 2000 }, () => status(i, 'wrong'))));
    let before = -1;
    while (before !== came.length) {
      before = came.length;
      await setTimeout(300);
    }
    assert.ok(came.length < 70_000, `${came.length} of 80,000 answered, and none read`);
    const keeper = connectKeeper(path);
    while (!(await keeper.status({ caller }).catch(() => undefined))) await setTimeout(5);
    keeper.disconnect();
    // Nor does such a caller keep the keeper from ending.
    await server.close(0);
    assert.ok(!socket.destroyed);
  });

  it('goes on when callers hang up at any moment', async () => {
    for (let i = 0; i < 50; i++) {
      const socket = open();
      socket.write(Buffer.concat([GREETING, status(i)]).subarray(0, 1 + ((i * 7) % 60)));
      await setTimeout(1);
      socket.destroy();
    }
    assert.ok(!(await hangsUp(Buffer.concat([GREETING, status(1)]))));
  });

  it('has a unique number for every code and method', () => {
    const wires = Object.values(ERRORS).map(({ wire }) => wire);
    assert.equal(new Set(wires).size, wires.length);
    const numbers = Object.values(API).map(({ number }) => number);
    assert.equal(new Set(numbers).size, numbers.length);
  });
});
