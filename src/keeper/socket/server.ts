import { chmod, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { CodedError, codeOf, ERRORS } from '../../protocol/terms.js';
import { log } from '../log/index.js';
import { keeperCalls, keeperDisconnects } from '../metrics/index.js';
import { decode, encode, Malformed } from './fields.js';
import { type Frame, FrameParser, KIND, sendFrame } from './frames.js';
import { FAILURE, type Methods, REQUEST_LIMIT } from './messages.js';

/** One method: it takes arguments that match the schema, and may send parts of its result before it ends. */
export type Handler = (call: never, tell: (part: unknown) => void) => Promise<unknown>;
export type Handlers<M extends Methods> = { readonly [N in keyof M]: Handler };

export interface ServeOptions {
  readonly path: string;
  /** permissions of the socket: 0o600, or 0o660 if the callers are in the folder's group */
  readonly mode: number;
  /** most callers at the same time: any further one is hung up on */
  readonly connections: number;
  /**
   * most calls that one connection may have open; what it sends beyond that is read only once some are
   * answered
   */
  readonly open: number;
  /** most calls of all connections that run at the same time; connections take turns */
  readonly running: number;
}

/**
 * Most bytes of answers that a caller may leave unread; beyond that, nothing more of what it sends is read.
 */
const UNREAD = 2 ** 20;
/** Milliseconds between two lines about callers that were disconnected: a flood of them fills no disk. */
const TELL_MS = 1000;

/** How long a caller may take to read its last answers, milliseconds. */
const PATIENCE_MS = 1000;

interface Connection {
  readonly socket: Socket;
  readonly waiting: Frame[];
  open: number;
}

/**
 * Serves methods on a Unix socket. A caller that sends what the schema does not know is disconnected; one
 * that sends more than its share waits for its own answers, and holds up no other caller.
 */
export class SocketServer<M extends Methods> {
  readonly #methods: Map<number, { name: string; row: M[keyof M]; handle: Handler }>;
  readonly #connections = new Set<Connection>();
  readonly #server: Server;
  #running = 0;
  #toldAt = Number.NEGATIVE_INFINITY;

  private constructor(
    methods: M,
    handlers: Handlers<M>,
    readonly options: ServeOptions,
  ) {
    this.#methods = new Map(
      Object.entries(methods).map(([name, row]) => [
        row.number,
        { name, row: row as M[keyof M], handle: handlers[name] as Handler },
      ]),
    );
    this.#server = createServer((socket) => this.#connected(socket));
    this.#server.maxConnections = options.connections;
    this.#server.on('drop', () => keeperDisconnects.inc());
  }

  /** @throws CodedError usage when another process answers there */
  static async listen<M extends Methods>(
    methods: M,
    handlers: Handlers<M>,
    options: ServeOptions,
  ): Promise<SocketServer<M>> {
    const server = new SocketServer(methods, handlers, options);
    await server.#listen().catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE' || (await answers(options.path)))
        throw new CodedError('usage', `${options.path}: cannot be listened on (${error.code})`);
      // The socket was left behind by a keeper that was killed.
      await unlink(options.path);
      await server.#listen();
    });
    await chmod(options.path, options.mode).catch(async (error) => {
      await server.close(0);
      throw error;
    });
    return server;
  }

  #listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.options.path, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
  }

  /**
   * Takes no more callers, lets open calls end for `ms` milliseconds, and hangs up. A caller that does not read its
   * answers holds this up for {@link PATIENCE_MS}.
   */
  async close(ms: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const until = performance.now() + ms;
    while ([...this.#connections].some(({ open }) => open > 0) && performance.now() < until)
      await new Promise((resolve) => setTimeout(resolve, 20));
    for (const { socket } of this.#connections) socket.destroySoon();
    const late = setTimeout(() => {
      for (const { socket } of this.#connections) socket.destroy();
    }, PATIENCE_MS);
    await closed;
    clearTimeout(late);
  }

  #connected(socket: Socket): void {
    const connection: Connection = { socket, waiting: [], open: 0 };
    const parser = new FrameParser(REQUEST_LIMIT, true);
    this.#connections.add(connection);
    socket.on('data', (chunk) => {
      try {
        for (const frame of parser.push(chunk)) this.#take(connection, frame);
        this.#flow(connection);
      } catch (error) {
        this.#refuse(connection, error as Error);
      }
    });
    socket.on('drain', () => this.#flow(connection));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#connections.delete(connection);
      connection.waiting.length = 0;
    });
  }

  #take(connection: Connection, frame: Frame): void {
    // What came together with a frame that was refused is not done either.
    if (connection.socket.destroyed) return;
    if (frame.kind !== KIND.request) throw new Malformed('not a request');
    connection.open++;
    connection.waiting.push(frame);
    this.#next();
  }

  /** Stops reading from a connection that has too much open or unread, and goes on later. */
  #flow({ socket, open }: Connection): void {
    if (open >= this.options.open || socket.writableLength > UNREAD) socket.pause();
    else if (socket.isPaused()) socket.resume();
  }

  /** Starts what may run, a call of each connection in turn. */
  #next(): void {
    while (this.#running < this.options.running) {
      const connection = [...this.#connections].find(({ waiting }) => waiting.length > 0);
      if (!connection) return;
      // It is last in line from now on.
      this.#connections.delete(connection);
      this.#connections.add(connection);
      this.#running++;
      void this.#run(connection, connection.waiting.shift() as Frame).finally(() => {
        this.#running--;
        connection.open--;
        this.#flow(connection);
        this.#next();
      });
    }
  }

  async #run(connection: Connection, { call, body }: Frame): Promise<void> {
    const send = (kind: number, bytes: Buffer) => this.#send(connection, { kind, call, body: bytes });
    try {
      const method = this.#methods.get(body[0] ?? 0);
      if (!method) throw new Malformed('no such method');
      const { name, row, handle } = method;
      const given = decode(row.arguments, body.subarray(1));
      const { part } = row;
      const tell = (value: unknown) => part && send(KIND.part, encode(part, value));
      try {
        const result = await (handle as (call: unknown, tell: unknown) => Promise<unknown>)(given, tell);
        const answer = encode(row.result, result);
        keeperCalls.inc({ method: name, outcome: 'ok' });
        send(KIND.answer, answer);
      } catch (error) {
        const requestId = (given as { caller?: { requestId: string } } | undefined)?.caller?.requestId;
        keeperCalls.inc({ method: name, outcome: codeOf(error) });
        send(KIND.failure, encode(FAILURE, told(error as Error, name, requestId)));
      }
    } catch (error) {
      this.#refuse(connection, error as Error);
    }
  }

  #send({ socket }: Connection, frame: Frame): void {
    if (!socket.destroyed) sendFrame(socket, frame);
  }

  #refuse({ socket, waiting }: Connection, error: Error): void {
    waiting.length = 0;
    if (socket.destroyed) return;
    socket.destroy();
    keeperDisconnects.inc();
    if (performance.now() - this.#toldAt < TELL_MS) return;
    this.#toldAt = performance.now();
    log.error('a caller of the keeper was disconnected', { reason: error.message });
  }
}

/**
 * What a caller learns about an error. If the error is not in the table, the caller learns only that there
 * was one.
 */
function told(error: Error, method: string, requestId: string | undefined) {
  const code = codeOf(error);
  if (code === 'internal' || code === 'token-failed' || code === 'database-failed')
    log.error('call failed', { requestId, method, error: error.name, reason: error.message });
  const { details = {} } = error as CodedError;
  return {
    wire: ERRORS[code].wire,
    message:
      code === 'internal'
        ? 'the vault has logged what went wrong under the request id'
        : error.message.slice(0, 1000),
    attemptsRemaining: details.attemptsRemaining,
    retryAfter: details.retryAfter,
  };
}

const answers = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
