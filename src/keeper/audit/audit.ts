import { randomBytes } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { log } from '../log/index.js';
import { auditEntries, auditFailures } from '../metrics/index.js';
import { type End, endOf } from './end.js';
import { EVENTS, link, runInput, sealInput, VERSION, written } from './line.js';
import type { Position } from './reading.js';

/**
 * The audit log: a file of JSON lines. Each line is chained to the previous one by an HMAC under a key of
 * this run of the daemon. That key is derived from a token key, so without the token no line can be changed,
 * dropped, moved or added. Every so often a seal, an HMAC under the token key itself, covers the chain. The
 * token keeps the head of the newest seals, so that the end cannot be cut off. docs/formats/audit-log.md
 * gives the bytes.
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
  /** @returns the newest of each log, by its name */
  heads(): Promise<ReadonlyMap<string, AuditHead>>;
  keepHead(head: AuditHead): Promise<void>;
}

const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');

const SEAL_MS = 250;
const HEAD_MS = 60_000;
/** Most lines that wait for a disk that cannot be written, some megabytes. What comes then is given up. */
const MOST_PENDING = 10_000;

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
  /** how many events were given up since {@link MOST_PENDING} lines wait */
  #lost = 0;
  /** bytes of the file up to the end of its last whole line */
  #size: number;
  /** whether there may be a part of a line behind that */
  #torn = false;
  /** whether the last write failed */
  #failing = false;
  /** the newest line that is sealed */
  #sealed: Position;
  #due = false;
  #headAt = Number.NEGATIVE_INFINITY;
  /** whether the token knows of this log: nothing is sealed before */
  #known: boolean;
  #queued = false;
  #turn: Promise<unknown> = Promise.resolve();
  #sealing: Promise<void> = Promise.resolve();
  #mark: () => Promise<Uint8Array | undefined> = async () => undefined;
  readonly #timer: NodeJS.Timeout;

  private constructor(
    file: FileHandle,
    key: AuditKey,
    { log, position }: End,
    {
      size,
      run,
      runKey,
      sealMs,
      known,
    }: { size: number; run: string; runKey: Uint8Array; sealMs: number; known: boolean },
  ) {
    this.#file = file;
    this.#key = key;
    this.#log = log;
    this.#position = position;
    this.#sealed = position;
    this.#size = size;
    this.#run = run;
    this.#runKey = runKey;
    this.#known = known;
    this.#timer = setInterval(() => {
      this.#sealing = this.#sealing.then(() => this.#seal());
    }, sealMs).unref();
  }

  /**
   * Opens a log at its end, or begins one.
   * @returns the log; what was wrong with its end (the log goes on nevertheless, and {@link verifyAudit}
   * reads all of it); and the newest mark in it
   * @throws NewerAuditLog
   */
  static async open(
    path: string,
    key: AuditKey,
    { sealMs = SEAL_MS } = {},
  ): Promise<{ log: AuditLog; fault: string | undefined; mark: Uint8Array | undefined }> {
    const file = await open(path, 'a+', 0o600);
    return AuditLog.#begin(file, path, key, sealMs).catch(async (error) => {
      await file.close();
      throw error;
    });
  }

  static async #begin(file: FileHandle, path: string, key: AuditKey, sealMs: number) {
    const found = await endOf(file, path, key);
    const name = randomBytes(8).toString('hex');
    const end: End = found ?? { log: name, position: { n: 0, chain: name }, added: false, sealed: false };
    const run = randomBytes(16).toString('hex');
    const runKey = await key.mac(runInput(run));
    const head = (await key.heads()).get(end.log);
    const known = head !== undefined;
    const log = new AuditLog(file, key, end, { size: (await file.stat()).size, run, runKey, sealMs, known });
    log.append(found ? EVENTS.run : EVENTS.begin, { log: end.log });
    const missing = head !== undefined && head.n > end.position.n;
    const forgotten = !known && end.sealed;
    if (missing) log.append(EVENTS.cut, { seen: head.n });
    if (forgotten) log.append(EVENTS.unknown);
    if (end.added) log.append(EVENTS.added);
    const faults = [
      ...(forgotten ? ['the token does not know of this log, as after a restore'] : []),
      ...(missing ? [`the token has seen line ${head.n}, and the log ends at line ${end.position.n}`] : []),
      ...(end.added ? [`after line ${end.position.n} are lines that no daemon wrote`] : []),
    ];
    return { log, fault: faults.length > 0 ? faults.join('; ') : undefined, mark: end.mark };
  }

  /** From now on each seal carries how new the retry counters are. @param mark `Ledger.mark()` */
  carry(mark: () => Promise<Uint8Array | undefined>): void {
    this.#mark = mark;
  }

  append(event: string, details: Readonly<Record<string, unknown>> = {}): void {
    if (this.#pending.length >= MOST_PENDING) {
      if (this.#lost++ === 0) log.error('audit lines are lost: the audit log cannot be written');
      return;
    }
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

  /** Writes what was appended, so that it survives if the process is killed. */
  #write(): void {
    this.#queued = true;
    this.#turn = this.#turn
      .then(async () => {
        this.#queued = false;
        const lines = this.#pending.length;
        if (lines === 0) return;
        const text = this.#pending.join('');
        if (this.#torn) await this.#file.truncate(this.#size);
        this.#torn = true;
        await this.#file.appendFile(text);
        this.#torn = false;
        this.#size += Buffer.byteLength(text);
        this.#pending.splice(0, lines);
        this.#failing = false;
        this.#tellLost();
      })
      .catch(() => {
        this.#failing = true;
        auditFailures.inc();
      });
  }

  #tellLost(): void {
    if (this.#lost === 0) return;
    const lines = this.#lost;
    this.#lost = 0;
    this.append(EVENTS.lost, { lines });
  }

  /**
   * Tries again what could not be written. What is appended meanwhile is not waited for, because lines may come without a
   * pause. @returns whether all lines until now are in the file
   */
  async #caughtUp(): Promise<boolean> {
    if (this.#pending.length > 0 && !this.#queued) this.#write();
    await this.#turn;
    return !this.#failing;
  }

  /** Seals what was appended, and syncs it to the disk. */
  async #seal(): Promise<void> {
    if (!(await this.#caughtUp())) return;
    if (!this.#known && !(await this.#becomeKnown())) return;
    if (this.#due) {
      const position = this.#position;
      const mark = await this.#mark().catch(() => undefined);
      const seal = await this.#key.mac(sealInput(position.chain)).catch(() => undefined);
      // If the token is away, the seal comes later; lines do not wait for it.
      if (!seal) return;
      this.#due = this.#position !== position;
      this.append(EVENTS.seal, { of: position.n, seal: encode(seal), ...(mark && { mark: encode(mark) }) });
      // The token remembers only what is on the disk. Otherwise lines that the disk lost would look cut off.
      if (!(await this.#caughtUp())) {
        this.#due = true;
        return;
      }
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

  /**
   * From then on, a log with a seal that the token does not know has lost its end, and the token has lost the
   * log's place.
   */
  async #becomeKnown(): Promise<boolean> {
    try {
      await this.#file.datasync();
      await this.#keepHead();
      // The token must remember the first seal too.
      this.#headAt = Number.NEGATIVE_INFINITY;
    } catch {
      auditFailures.inc();
    }
    return this.#known;
  }

  async #keepHead(): Promise<void> {
    this.#headAt = performance.now();
    await this.#key.keepHead({ log: this.#log, ...this.#sealed }).then(
      () => {
        this.#known = true;
      },
      () => auditFailures.inc(),
    );
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sealing;
    await this.#seal();
    await this.#keepHead();
    while (this.#pending.length > 0 && (await this.#caughtUp()));
    if (this.#pending.length > 0)
      log.error('audit lines are lost: the audit log cannot be written', {
        lines: this.#pending.length + this.#lost,
      });
    await this.#file.close();
  }
}
