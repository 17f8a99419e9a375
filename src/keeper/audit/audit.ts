import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { auditEntries, auditFailures } from '../metrics/index.js';
import { EVENTS, link, parse, runInput, sealInput, VERSION, written } from './line.js';
import { Chains, type Position, Reading } from './reading.js';

/**
 * The audit log: a file of JSON lines. Each is chained to the one before by an HMAC under a key of this run of the
 * daemon, which a token key makes: without the token no line can be changed, dropped, moved or added. Every so often a
 * seal, an HMAC under the token key itself, covers the chain. The token keeps the head of the newest seals, so that the
 * end cannot be cut off. docs/formats/audit-log.md gives the bytes.
 */

/** What the token knows of a log. */
export interface AuditHead {
  /** random name of the log, 16 hexadecimal digits */
  readonly log: string;
  /** lines up to here are sealed */
  readonly n: number;
  readonly chain: string;
}

/** What the log asks of the token. */
export interface AuditKey {
  mac(data: Uint8Array): Promise<Uint8Array>;
  heads(): Promise<AuditHead[]>;
  keepHead(head: AuditHead): Promise<void>;
}

interface End {
  readonly log: string;
  readonly position: Position;
  readonly added: boolean;
}

const SEAL_MS = 250;
const HEAD_MS = 60_000;
/** A line is shorter. */
const TAIL = 65_536;

/** Appends to one audit log. Lines are written at once and in order. */
export class AuditLog {
  readonly #file: FileHandle;
  readonly #key: AuditKey;
  readonly #log: string;
  /** names this run of the daemon; its key chains the lines */
  readonly #run: string;
  readonly #runKey: Uint8Array;
  #position: Position;
  #pending: string[] = [];
  /** bytes of the file up to the end of its last whole line */
  #size: number;
  /** the newest line that is sealed */
  #sealed: Position;
  #due = false;
  #headAt = Number.NEGATIVE_INFINITY;
  #queued = false;
  #turn: Promise<unknown> = Promise.resolve();
  #sealing: Promise<void> = Promise.resolve();
  readonly #timer: NodeJS.Timeout;

  private constructor(
    file: FileHandle,
    key: AuditKey,
    { log, position }: End,
    { size, run, runKey, sealMs }: { size: number; run: string; runKey: Uint8Array; sealMs: number },
  ) {
    this.#file = file;
    this.#key = key;
    this.#log = log;
    this.#position = position;
    this.#sealed = position;
    this.#size = size;
    this.#run = run;
    this.#runKey = runKey;
    this.#timer = setInterval(() => {
      this.#sealing = this.#sealing.then(() => this.#seal());
    }, sealMs).unref();
  }

  /**
   * Opens a log at its end, or begins one.
   * @returns the log, and what was wrong with its end: it goes on nevertheless. {@link verifyAudit} reads the whole.
   */
  static async open(
    path: string,
    key: AuditKey,
    { sealMs = SEAL_MS } = {},
  ): Promise<{ log: AuditLog; fault: string | undefined }> {
    const file = await open(path, 'a+', 0o600);
    const found = await endOf(file, path, key);
    const name = randomBytes(8).toString('hex');
    const end = found ?? { log: name, position: { n: 0, chain: name }, added: false };
    const run = randomBytes(16).toString('hex');
    const runKey = await key.mac(runInput(run));
    const log = new AuditLog(file, key, end, { size: (await file.stat()).size, run, runKey, sealMs });
    log.append(found ? EVENTS.run : EVENTS.begin, { log: end.log });
    const head = (await key.heads()).find((one) => one.log === end.log);
    const missing = head !== undefined && head.n > end.position.n;
    if (missing) log.append(EVENTS.cut, { seen: head.n });
    if (end.added) log.append(EVENTS.added);
    const faults = [
      ...(missing ? [`the token has seen line ${head.n}, and the log ends at line ${end.position.n}`] : []),
      ...(end.added ? [`after line ${end.position.n} are lines that no daemon wrote`] : []),
    ];
    return { log, fault: faults.length > 0 ? faults.join('; ') : undefined };
  }

  append(event: string, details: Readonly<Record<string, unknown>> = {}): void {
    const n = this.#position.n + 1;
    const time = new Date().toISOString();
    const body = JSON.stringify({ v: VERSION, n, run: this.#run, time, event, ...details });
    const chain = link(this.#position.chain, body, this.#runKey);
    this.#pending.push(written(body, chain));
    this.#position = { n, chain };
    if (event !== EVENTS.seal) this.#due = true;
    if (!this.#queued) this.#write();
    auditEntries.set(n);
  }

  /** Writes what was appended: a process that is killed then loses none of it. */
  #write(): void {
    this.#queued = true;
    this.#turn = this.#turn
      .then(async () => {
        this.#queued = false;
        const lines = this.#pending.splice(0).join('');
        if (!lines) return;
        try {
          await this.#file.appendFile(lines);
          this.#size += Buffer.byteLength(lines);
        } catch (error) {
          this.#pending.unshift(lines);
          // A part of them may have been written.
          await this.#file.truncate(this.#size);
          throw error;
        }
      })
      .catch(() => auditFailures.inc());
  }

  /** Seals what was appended, on the disk. */
  async #seal(): Promise<void> {
    if (this.#due) {
      const position = this.#position;
      const seal = await this.#key.mac(sealInput(position.chain)).catch(() => undefined);
      // A token that is away seals later; the lines do not wait for it.
      if (!seal) return;
      this.#due = this.#position !== position;
      this.append(EVENTS.seal, { of: position.n, seal: Buffer.from(seal).toString('base64url') });
      await this.#turn;
      // The token remembers only what is on the disk. Otherwise lines that the disk lost would look cut off.
      if (this.#pending.length > 0) return;
      try {
        await this.#file.datasync();
      } catch {
        auditFailures.inc();
        return;
      }
      this.#sealed = position;
    }
    if (performance.now() - this.#headAt > HEAD_MS) await this.#keepHead();
  }

  async #keepHead(): Promise<void> {
    this.#headAt = performance.now();
    await this.#key.keepHead({ log: this.#log, ...this.#sealed }).catch(() => auditFailures.inc());
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sealing;
    await this.#seal();
    await this.#keepHead();
    await this.#turn;
    await this.#file.close();
  }
}

/**
 * Where a log ends; `added`: there are lines after it that no daemon wrote. Only its last part is read where that tells:
 * a line that links to the one before was written by a daemon of version 2. A line that was cut off is ended.
 */
async function endOf(file: FileHandle, path: string, key: AuditKey): Promise<End | undefined> {
  const { size } = await file.stat();
  if (size === 0) return undefined;
  const read = async (position: number) => {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(TAIL), 0, TAIL, position);
    return buffer.subarray(0, bytesRead).toString();
  };
  const tail = await read(Math.max(0, size - TAIL));
  if (!tail.endsWith('\n')) await file.appendFile('\n');
  const first = parse((await read(0)).split('\n')[0] as string);
  const [before, last] = tail
    .split('\n')
    .flatMap((text) => parse(text) ?? [])
    .slice(-2);
  if (before && last?.line.v === VERSION && (await new Chains(key).links(before.chain, last)))
    return { log: String(first?.line.log), position: { n: last.line.n, chain: last.chain }, added: false };
  const reading = new Reading(key);
  for await (const text of createInterface({ input: createReadStream(path) })) await reading.take(text);
  const { log, position = { n: 0, chain: String(log) }, added } = reading;
  return log === undefined ? undefined : { log, position, added: added > 0 };
}
