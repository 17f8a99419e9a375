import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { auditEntries, auditFailures } from '../metrics/index.js';

/**
 * The audit log: a file of JSON lines, each chained to the one before by a hash, so that none can be changed, dropped or
 * moved alone; and a seal every so often, an HMAC under a token key over the chain, so that nobody without the token
 * can make a chain of their own. The token keeps the head of the newest seals, so that the end cannot be cut off.
 *
 * A line is `{"n": …, "time": …, "event": …, …, "chain": …}`. `chain` is SHA-256 over the chain of the line before
 * (of the first line: over the name of the log) and the line without its `chain`. The first line's event is `begin`;
 * a line with the event `seal` carries the HMAC of the chain of line number `of`. A line that a crash cut off was never
 * part of the chain.
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

export interface AuditVerdict {
  readonly lines: number;
  readonly seals: number;
  /** lines after the last seal: the daemon ended before it could seal them */
  readonly unsealed: number;
  /** what is wrong; `undefined` when nothing is */
  readonly fault: string | undefined;
  /** other logs that the token knows: of other daemons, or of files that are missing */
  readonly others: readonly AuditHead[];
}

type Line = { n: number; time: string; event: string; chain: string; [detail: string]: unknown };
type Position = { log: string; n: number; chain: string };

/** The event of a line that a daemon writes when it finds that the end of its log was cut off. */
const CUT = 'cut';
const SEAL_MS = 250;
const HEAD_MS = 60_000;
/** A line is shorter. */
const TAIL = 65_536;

const sealInput = (chain: string): Uint8Array => Buffer.from(`bkv audit seal v1 ${chain}`);
const link = (chain: string, body: string): string =>
  createHash('sha256').update(`${chain}\n${body}`).digest('base64url');

/** Appends to one audit log. Lines are written at once and in order. */
export class AuditLog {
  readonly #file: FileHandle;
  readonly #key: AuditKey;
  #position: Position;
  #pending: string[] = [];
  /** the newest line that is sealed */
  #sealed: Position;
  #due = false;
  #headAt = 0;
  #queued = false;
  #turn: Promise<unknown> = Promise.resolve();
  #sealing: Promise<void> = Promise.resolve();
  readonly #timer: NodeJS.Timeout;

  private constructor(file: FileHandle, key: AuditKey, position: Position) {
    this.#file = file;
    this.#key = key;
    this.#position = position;
    this.#sealed = position;
    this.#timer = setInterval(() => {
      this.#sealing = this.#sealing.then(() => this.#seal());
    }, SEAL_MS).unref();
  }

  /**
   * Opens a log at its end, or begins one.
   * @returns the log, and what was wrong with its end: it goes on nevertheless. {@link verifyAudit} reads the whole.
   */
  static async open(path: string, key: AuditKey): Promise<{ log: AuditLog; fault: string | undefined }> {
    const file = await open(path, 'a+', 0o600);
    const found = await end(file);
    const name = found?.log ?? randomBytes(8).toString('hex');
    const log = new AuditLog(file, key, found ?? { log: name, n: 0, chain: name });
    if (!found) log.append('begin', { log: name });
    const head = (await key.heads()).find((one) => one.log === name);
    if (!head || head.n <= (found?.n ?? 0)) return { log, fault: undefined };
    log.append(CUT, { seen: head.n });
    return { log, fault: `the token has seen line ${head.n}` };
  }

  append(event: string, details: Readonly<Record<string, unknown>> = {}): void {
    const n = this.#position.n + 1;
    const body = JSON.stringify({ n, time: new Date().toISOString(), event, ...details });
    const chain = link(this.#position.chain, body);
    this.#pending.push(`${body.slice(0, -1)},"chain":"${chain}"}\n`);
    this.#position = { ...this.#position, n, chain };
    if (event !== 'seal') this.#due = true;
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
        await this.#file.appendFile(lines).catch((error) => {
          this.#pending.unshift(lines);
          throw error;
        });
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
      this.append('seal', { of: position.n, seal: Buffer.from(seal).toString('base64url') });
      await this.#turn;
      await this.#file.datasync().catch(() => auditFailures.inc());
      this.#sealed = position;
    }
    if (Date.now() - this.#headAt > HEAD_MS) await this.#keepHead();
  }

  async #keepHead(): Promise<void> {
    this.#headAt = Date.now();
    await this.#key.keepHead(this.#sealed).catch(() => auditFailures.inc());
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

/** Where a log ends. A line that was cut off is ended. */
async function end(file: FileHandle): Promise<Position | undefined> {
  const { size } = await file.stat();
  if (size === 0) return undefined;
  const read = async (position: number) => {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(TAIL), 0, TAIL, position);
    return buffer.subarray(0, bytesRead).toString();
  };
  const first = parse((await read(0)).split('\n')[0] as string);
  const tail = await read(Math.max(0, size - TAIL));
  const last = tail.split('\n').map(parse).findLast(Boolean);
  if (!tail.endsWith('\n')) await file.appendFile('\n');
  return last && { log: String(first?.log), n: last.n, chain: last.chain };
}

/** Reads a log from its begin to its end and tells whether it is whole. */
export async function verifyAudit(path: string, key: Pick<AuditKey, 'mac' | 'heads'>): Promise<AuditVerdict> {
  const { lines, seals, unsealed, fault, others } = await read(path, key);
  return { lines, seals, unsealed, fault, others };
}

async function read(
  path: string,
  key: Pick<AuditKey, 'mac' | 'heads'>,
): Promise<AuditVerdict & { position: Position | undefined }> {
  const heads = new Map((await key.heads()).map((head) => [head.log, head]));
  const chains = new Map<number, string>();
  let position: Position | undefined;
  let fault: string | undefined;
  let [lines, seals] = [0, 0];
  for await (const text of createInterface({ input: createReadStream(path) })) {
    const line = parse(text);
    if (!line) continue;
    lines++;
    const { chain, ...rest } = line;
    position ??= { log: String(line.log), n: 0, chain: String(line.log) };
    if (line.n !== position.n + 1 || chain !== link(position.chain, JSON.stringify(rest)))
      fault ??= `line ${line.n} was changed, or lines before it are missing`;
    if (line.event === 'seal') {
      const seal = Buffer.from(await key.mac(sealInput(chains.get(Number(line.of)) ?? '')));
      if (line.seal === seal.toString('base64url')) seals++;
      else fault ??= `the seal in line ${line.n} is not the token's`;
      for (const n of chains.keys()) if (n <= Number(line.of)) chains.delete(n);
    } else chains.set(line.n, chain);
    if (line.event === CUT) fault ??= `lines up to ${line.seen} were missing when line ${line.n} was written`;
    position = { log: position.log, n: line.n, chain };
    const head = heads.get(position.log);
    if (head?.n === line.n && head.chain !== chain)
      fault ??= `line ${line.n} is not the one that the token saw`;
  }
  const head = position && heads.get(position.log);
  if (!position) fault = 'it has no lines';
  else if (head && head.n > position.n)
    fault ??= `the end is missing: the token has seen line ${head.n}, and the log ends at ${position.n}`;
  const others = [...heads.values()].filter(({ log }) => log !== position?.log);
  return { lines, seals, unsealed: chains.size, fault, others, position };
}

function parse(text: string): Line | undefined {
  try {
    const line = JSON.parse(text) as Line;
    return typeof line.n === 'number' && typeof line.chain === 'string' ? line : undefined;
  } catch {
    return undefined;
  }
}
