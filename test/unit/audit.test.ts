import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { appendFileSync, copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { randomNumbers, seed } from '../../rig/random.js';
import {
  type AuditHead,
  type AuditKey,
  AuditLog,
  auditKey,
  verifyAudit,
} from '../../src/keeper/audit/index.js';

/** A token's audit key in memory. Each of its HMACs may take a while. */
class MemoryKey implements AuditKey {
  readonly kept = new Map<string, AuditHead>();
  constructor(readonly wait: () => Promise<unknown> = async () => undefined) {}

  async mac(data: Uint8Array): Promise<Uint8Array> {
    await this.wait();
    return createHmac('sha256', 'the audit key of the tests').update(data).digest();
  }

  async heads(): Promise<ReadonlyMap<string, AuditHead>> {
    return this.kept;
  }

  async keepHead(head: AuditHead): Promise<void> {
    await this.wait();
    this.kept.set(head.log, head);
  }
}

describe(`the audit log, without a token (BKV_SEED=${seed})`, () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-audit-'));
  after(() => rmSync(work, { recursive: true, force: true }));

  let count = 0;
  const newPath = () => join(work, `${++count}.log`);
  const run = async (path: string, key: AuditKey, events: readonly string[]) => {
    const { log, fault } = await AuditLog.open(path, key);
    for (const event of events) log.append(event, { account: 'a "quoted" }, name' });
    await log.close();
    return fault;
  };
  const linesOf = (path: string): string[] => readFileSync(path, 'utf8').split('\n').filter(Boolean);
  /** A line added by somebody who can write the file but has no key. It is chained as well as possible without one. */
  const forge = (path: string, event: string): string => {
    const last = JSON.parse(linesOf(path).at(-1) as string) as { n: number; chain: string; run: string };
    const body = JSON.stringify({
      v: 2,
      n: last.n + 1,
      run: last.run,
      time: '2026-01-01T00:00:00.000Z',
      event,
    });
    const chain = createHash('sha256').update(`${last.chain}\n${body}`).digest('base64url');
    return `${body.slice(0, -1)},"chain":"${chain}"}\n`;
  };

  it('reports no fault if nobody touched it: 200 short runs, closed or killed at any moment (A12)', async function () {
    this.timeout(120_000);
    const random = randomNumbers(seed);
    const upTo = (most: number) => Math.floor(random() * (most + 1));
    for (let i = 0; i < 200; i++) {
      const pause = async () => {
        for (let turns = upTo(6); turns > 0; turns--) await setImmediate();
      };
      const key = new MemoryKey(pause);
      let path = newPath();
      for (let start = upTo(3); start >= 0; start--) {
        const { log, fault } = await AuditLog.open(path, key, { sealMs: 1 });
        assert.equal(fault, undefined, `log ${i}`);
        for (let n = upTo(12); n > 0; n--) {
          log.append('event', { n1: n });
          await pause();
        }
        if (random() < 0.5) {
          await log.close();
        } else {
          // For a kill, go on with a copy of the file as it is now. Its last line may be cut off.
          const copy = newPath();
          copyFileSync(path, copy);
          if (random() < 0.5) appendFileSync(copy, '{"v":2,"n":9999,"ti');
          const heads = new Map(key.kept);
          await log.close();
          key.kept.clear();
          for (const [name, head] of heads) key.kept.set(name, head);
          path = copy;
        }
        const verdict = await verifyAudit(path, key);
        // A run that was killed before its first line has nothing to verify.
        if (verdict.lines > 0) assert.deepEqual(verdict.faults, [], `log ${i}`);
      }
    }
  });

  it('reports every fault, each once', async () => {
    const path = newPath();
    const key = new MemoryKey();
    await run(
      path,
      key,
      Array.from({ length: 30 }, (_, i) => `event ${i}`),
    );
    const all = linesOf(path);
    const changed = all
      .with(4, (all[4] as string).replace('event ', 'Event '))
      .with(20, (all[20] as string).replace('event ', 'Event '))
      .toSpliced(12, 1);
    writeFileSync(path, `${changed.join('\n')}\n`);
    const { faults } = await verifyAudit(path, key);
    for (const n of [5, 14, 21])
      assert.ok(
        faults.some((fault) => fault.startsWith(`line ${n} was changed`)),
        `${n}: ${faults}`,
      );
    // A fourth fault may be that of the last seal, which covers these lines.
    assert.ok(faults.length <= 4, String(faults));
  });

  it('never accepts lines that were added while the daemon was down (A12)', async () => {
    for (const lines of [1, 3, 400]) {
      const path = newPath();
      const key = new MemoryKey();
      await run(path, key, ['one', 'two']);
      const genuine = linesOf(path).length;
      for (let i = 0; i < lines; i++) appendFileSync(path, forge(path, 'recovered'));
      assert.match(String(await run(path, key, ['three'])), new RegExp(`after line ${genuine} are lines`));
      await run(path, key, ['four']);
      const { faults } = await verifyAudit(path, key);
      for (let n = genuine + 1; n <= genuine + lines; n++)
        assert.ok(
          faults.some((fault) => fault.startsWith(`line ${n} was changed or added`)),
          `${n}`,
        );
      assert.ok(faults.some((fault) => fault.startsWith('lines that no daemon wrote')));
      assert.equal(faults.length, lines + 1);
    }
  });

  it('does not fail because of text that a caller put into a line', async () => {
    const path = newPath();
    const key = new MemoryKey();
    const { log } = await AuditLog.open(path, key);
    for (const requestId of ['\u2028', '\u2029', '\r', '\n', '\u0085', '\0', '"},{', '","chain":"x"}'])
      log.append('attempt failed', { requestId: `a${requestId}b` });
    await log.close();
    assert.deepEqual((await verifyAudit(path, key)).faults, []);
  });

  it('reports text that is no line, except a line that a crash cut off at the end of a run', async () => {
    const path = newPath();
    const key = new MemoryKey();
    await run(path, key, ['one', 'two']);
    const cutOff = '{"v":2,"n":7,"run":"ab';
    appendFileSync(path, cutOff);
    await run(path, key, ['three']);
    appendFileSync(path, cutOff);
    assert.deepEqual((await verifyAudit(path, key)).faults, []);
    const all = linesOf(path).slice(0, -1);
    const at = all.indexOf(cutOff);
    const unchained = '{"v":2,"n":2,"event":"recovered"}';
    const altered: [string, string][] = [
      ['a line without chain', all.toSpliced(2, 0, unchained).join('\n')],
      ['text', all.toSpliced(2, 0, 'nothing happened').join('\n')],
      ['an empty line', all.toSpliced(2, 0, '').join('\n')],
      ['a cut-off line elsewhere', all.toSpliced(at, 1).toSpliced(2, 0, cutOff).join('\n')],
      ['a whole line for the one that was cut off', all.with(at, unchained).join('\n')],
      ['a line at the end', [...all, unchained].join('\n')],
    ];
    for (const [name, text] of altered) {
      writeFileSync(path, `${text}\n`);
      const { faults } = await verifyAudit(path, key);
      assert.match(String(faults), /^after line \d+ stands what no daemon wrote$/, name);
    }
    writeFileSync(path, all.join('\r'));
    assert.notDeepEqual((await verifyAudit(path, key)).faults, [], 'other ends of lines');
  });

  it('reports a log whose head the token lost, because its end may be missing', async () => {
    const path = newPath();
    const key = new MemoryKey();
    await run(path, key, ['one']);
    await run(path, key, ['two']);
    assert.deepEqual((await verifyAudit(path, key)).faults, []);
    writeFileSync(path, `${linesOf(path).slice(0, -2).join('\n')}\n`);
    key.kept.clear();
    assert.match(String((await verifyAudit(path, key)).faults), /^the token does not know of this log/);
    assert.match(String(await run(path, key, ['three'])), /^the token does not know of this log/);
    assert.ok(linesOf(path).some((line) => line.includes('"event":"unknown"')));
  });

  it('is named after its first whole line, also after one that a crash cut off', async () => {
    const path = newPath();
    const key = new MemoryKey();
    writeFileSync(path, '{"v":2,"n":1,"ru');
    for (const event of ['one', 'two', 'three']) await run(path, key, [event]);
    assert.equal(key.kept.size, 1);
    writeFileSync(path, `${linesOf(path).slice(0, -2).join('\n')}\n`);
    assert.match(String((await verifyAudit(path, key)).faults), /^the end is missing/);
  });

  it('seals nothing before the token knows of the log', async () => {
    const path = newPath();
    const key = new MemoryKey();
    key.keepHead = async () => {
      throw new Error('no room');
    };
    await run(path, key, ['one']);
    assert.deepEqual(
      linesOf(path).map((line) => JSON.parse(line).event),
      ['begin', 'one'],
    );
    assert.deepEqual((await verifyAudit(path, key)).faults, []);
  });

  it('believes the newest of a log’s heads in the token, and none that cannot be read', async () => {
    const head = (log: string, n: number) => Buffer.from(JSON.stringify({ log, n, chain: '' }));
    const values = [head('a', 9), head('a', 3), Buffer.from('no head'), head('b', 1), head('b', 2)];
    const call = async () => values.map((value) => ({ handle: '', label: '', value }));
    const heads = await auditKey({ call } as unknown as Parameters<typeof auditKey>[0]).heads();
    assert.deepEqual(
      [...heads].map(([log, { n }]) => [log, n]),
      [
        ['b', 2],
        ['a', 9],
      ],
    );
  });

  it('accepts no lines of version 1 after those of version 2', async () => {
    const path = newPath();
    const key = new MemoryKey();
    await run(path, key, ['one']);
    for (let i = 0; i < 500; i++)
      appendFileSync(
        path,
        forge(path, 'recovered')
          .replace('"v":2,', '')
          .replace(/"run":"\w+",/, ''),
      );
    assert.match(String(await run(path, key, ['two'])), /lines that no daemon wrote/);
    assert.equal((await verifyAudit(path, key)).faults.length, 501);
  });

  it('reports an end that was cut off, now and in every later run', async () => {
    const path = newPath();
    const key = new MemoryKey();
    await run(path, key, ['one', 'two', 'three']);
    writeFileSync(path, `${linesOf(path).slice(0, 2).join('\n')}\n`);
    assert.match(String((await verifyAudit(path, key)).faults), /the end is missing/);
    assert.match(String(await run(path, key, ['four'])), /the token has seen line 4/);
    assert.match(
      String((await verifyAudit(path, key)).faults),
      /lines up to 4 were missing when line 4 was written/,
    );
  });

  describe('carries the marks that tell how new the retry counters are', () => {
    const markOf = (n: number) => Buffer.alloc(100, n);
    const runWith = async (path: string, key: AuditKey, n: number) => {
      const { log, mark } = await AuditLog.open(path, key);
      log.carry(async () => markOf(n));
      log.append('event');
      await log.close();
      return mark;
    };
    const begun = async () => {
      const path = newPath();
      const key = new MemoryKey();
      assert.equal(await runWith(path, key, 1), undefined);
      assert.deepEqual(await runWith(path, key, 2), markOf(1));
      assert.deepEqual((await verifyAudit(path, key)).faults, []);
      return { path, key };
    };
    const opened = async (path: string, key: AuditKey) => {
      const { log, mark } = await AuditLog.open(path, key);
      await log.close();
      return mark;
    };

    it('in its seals, also when the last one is followed by a crash, or by more than is read at once', async () => {
      for (const lines of [3, 9000]) {
        const { path, key } = await begun();
        const { log } = await AuditLog.open(path, key, { sealMs: 2 ** 30 });
        for (let n = 0; n < lines; n++) log.append('event', { n1: n });
        while (
          !linesOf(path)
            .at(-1)
            ?.includes(`"n1":${lines - 1}`)
        )
          await setTimeout(5);
        const killed = newPath();
        copyFileSync(path, killed);
        await log.close();
        assert.deepEqual(await opened(killed, key), markOf(2));
      }
    });

    it('and believes only lines that a daemon wrote', async () => {
      const { path, key } = await begun();
      const all = linesOf(path);
      const forged = () => forge(path, 'seal').replace('"event"', `"mark":"${'AA'.repeat(40)}","event"`);
      const variants: Record<string, string[]> = {
        'a line that was added': [...all, forged().trim()],
        'more of them than are read at once': [...all, ...Array<string>(8000).fill(forged().trim())],
        'a seal whose mark was changed': all.map((line) =>
          line.replace(markOf(2).toString('base64url'), markOf(9).toString('base64url')),
        ),
      };
      for (const [what, lines] of Object.entries(variants)) {
        writeFileSync(path, `${lines.join('\n')}\n`);
        const expected = what.startsWith('a seal') ? markOf(1) : markOf(2);
        assert.deepEqual(await opened(path, key), expected, what);
      }
    });
  });

  it('writes later what the disk did not take, also when it is closed, and tells how many lines it gave up', async () => {
    const path = newPath();
    const key = new MemoryKey();
    const probe = await openFile(path, 'a');
    const files = Object.getPrototypeOf(probe) as { appendFile: (text: string) => Promise<void> };
    await probe.close();
    const { appendFile } = files;
    let full = false;
    files.appendFile = async function (text: string) {
      if (!full) return appendFile.call(this, text);
      await appendFile.call(this, text.slice(0, text.length / 2));
      throw new Error('the disk is full');
    };
    const events = () => linesOf(path).flatMap((line) => /"event":"(\w+)".*\}$/.exec(line)?.[1] ?? []);
    const faults = async () => (await verifyAudit(path, key)).faults;
    try {
      const { log } = await AuditLog.open(path, key, { sealMs: 1 });
      full = true;
      log.append('one');
      await setTimeout(50);
      full = false;
      // No further event is needed.
      while (!events().includes('one')) await setTimeout(2);
      assert.deepEqual(await faults(), []);
      full = true;
      for (let i = 0; i < 10_005; i++) log.append('many');
      full = false;
      while (!events().includes('lost')) await setTimeout(2);
      log.append('last');
      await setTimeout(0);
      await log.close();
      assert.equal(events().filter((event) => event === 'many').length, 10_000);
      assert.match(String(await faults()), /^5 lines before line \d+ were lost/);

      const other = newPath();
      const begun = await AuditLog.open(other, key, { sealMs: 2 ** 30 });
      full = true;
      begun.log.append('two');
      await setTimeout(20);
      full = false;
      await begun.log.close();
      assert.ok(linesOf(other).some((line) => line.includes('"two"')));
      assert.deepEqual((await verifyAudit(other, key)).faults, []);
    } finally {
      files.appendFile = appendFile;
    }
  });

  it('is sealed and kept by the token though lines come faster than the disk takes them', async () => {
    const path = newPath();
    const key = new MemoryKey();
    const probe = await openFile(path, 'a');
    const files = Object.getPrototypeOf(probe) as { appendFile: (text: string) => Promise<void> };
    await probe.close();
    const { appendFile } = files;
    const { log } = await AuditLog.open(path, key, { sealMs: 1 });
    let lines = 0;
    files.appendFile = async function (text: string) {
      if (lines++ < 200) log.append('while it is written');
      await appendFile.call(this, text);
    };
    try {
      log.append('one');
      while (lines < 200) await setTimeout(1);
      const sealed = linesOf(path).filter((line) => line.includes('"event":"seal"'));
      assert.ok(sealed.length > 0);
      assert.ok([...key.kept.values()].some(({ n }) => n > 0));
    } finally {
      files.appendFile = appendFile;
      await log.close();
    }
    assert.deepEqual((await verifyAudit(path, key)).faults, []);
  });

  it('does not continue a log with any line of a newer version, but continues one that only claims to have such a line', async () => {
    const path = newPath();
    const key = new MemoryKey();
    await run(path, key, ['one']);
    const whole = readFileSync(path, 'utf8');
    const last = JSON.parse(linesOf(path).at(-1) as string) as { n: number; chain: string; run: string };
    const newer = async (chained: (input: string) => Promise<Uint8Array>) => {
      const body = JSON.stringify({ v: 3, n: last.n + 1, run: last.run, event: 'of later' });
      const chain = Buffer.from(await chained(`${last.chain}\n${body}`)).toString('base64url');
      return `${body.slice(0, -1)},"chain":"${chain}"}\n`;
    };
    const runKey = await key.mac(Buffer.from(`bkv audit 2 run ${last.run}`));
    const genuine = await newer(async (input) => createHmac('sha256', runKey).update(input).digest());
    for (const after of ['', forge(path, 'recovered')]) {
      writeFileSync(path, whole + genuine + after);
      await assert.rejects(AuditLog.open(path, key), {
        code: 'newer-version',
        message: /has lines of version 3, and this program knows version 2/,
      });
      assert.equal(readFileSync(path, 'utf8'), whole + genuine + after, 'nothing was written');
    }
    writeFileSync(path, whole + (await newer(async (input) => createHash('sha256').update(input).digest())));
    assert.match(String(await run(path, key, ['two'])), /lines that no daemon wrote/);
  });

  for (const version of [1, 2])
    it(`reads a log of version ${version}, and continues it`, async () => {
      const golden = `test/golden/audit/version-${version}.log`;
      const key = new MemoryKey();
      const head = JSON.parse(readFileSync('test/golden/audit/heads.json', 'utf8'))[version - 1] as AuditHead;
      key.kept.set(head.log, head);
      const verdict = await verifyAudit(golden, key);
      assert.deepEqual(verdict, { lines: verdict.lines, seals: 2, unsealed: 0, faults: [], others: [] });
      const path = newPath();
      copyFileSync(golden, path);
      assert.equal(await run(path, key, ['since']), undefined);
      const since = await verifyAudit(path, key);
      assert.deepEqual(since.faults, []);
      assert.equal(since.seals, 3);
    });
});
