import assert from 'node:assert/strict';
import fc from 'fast-check';
import { seed } from '../../rig/random.js';
import {
  type Attempt,
  type Cell,
  CellClosed,
  Ledger,
  LedgerUnavailable,
} from '../../src/keeper/ledger/index.js';
import { TokenError } from '../../src/keeper/pkcs11/index.js';
import { Cut, MemoryStore } from '../support/memory-store.js';
import { LedgerModel, type Pair, type Registered } from '../support/model.js';

const LIMIT = 4;
/** Small pages and objects, so that even a short history fills and splits them. */
const SMALL = { limit: LIMIT, pageCells: 64, objectBytes: 256 };

const open = (store: MemoryStore, options: Partial<Parameters<typeof Ledger.open>[1]> = {}) =>
  Ledger.open(store, { ...SMALL, ...options });

async function allocate(ledger: Ledger): Promise<Cell> {
  const cell = await ledger.pick();
  await ledger.reserve(cell);
  await ledger.activate(cell);
  return cell;
}

async function fill(ledger: Ledger, count: number): Promise<Cell[]> {
  const cells: Cell[] = [];
  for (let i = 0; i < count; i++) cells.push(await ledger.pick());
  await Promise.all(cells.map((cell) => ledger.reserve(cell)));
  await Promise.all(cells.map((cell) => ledger.activate(cell)));
  return cells;
}

/** Rotates a page's key, and lets `move` give its live cells the new generation, as the vault does with its records. */
async function rotate(
  ledger: Ledger,
  page: number,
  move: (from: number, to: number, cells: readonly [number, number]) => void,
) {
  const rotation = await ledger.beginRotation(page);
  move(rotation.from, rotation.to, rotation.cells);
  await ledger.finishRotation(rotation);
}

async function guess(ledger: Ledger, cell: Cell): Promise<void> {
  const attempt = ledger.spend([cell]);
  await attempt.durable;
  await ledger.fail(attempt);
}

describe(`ledger, in memory (BKV_SEED=${seed})`, () => {
  const command = fc.record({
    op: fc.oneof(
      {
        weight: 20,
        arbitrary: fc.constantFrom('register', 'spend', 'spend both', 'prove', 'fail', 'give back', 'retire'),
      },
      { weight: 3, arbitrary: fc.constantFrom('reopen', 'rotate', 'fill', 'limit', 'break') },
    ),
    at: fc.oneof(fc.nat(3), fc.nat(10_000)),
  });

  it('does what plain counters do, over restarts, failed writes, folds, splits and rotations', async function () {
    this.timeout(60_000);
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 120 }), async (commands) => {
        const store = new MemoryStore();
        let limit = LIMIT;
        let ledger = await open(store);
        const model = new LedgerModel();
        const all: Registered[] = [];
        const attempts: Pair[] = [];
        const check = (one: Registered) =>
          assert.deepEqual(ledger.state(one.cell), model.expected(one.model));
        /** A new ledger does not know the open attempts, so they are over. */
        const reopen = async () => {
          attempts.length = 0;
          model.restart();
          ledger = await open(store, { limit });
        };
        for (const { op, at } of commands) {
          const one = all[at % all.length] as Registered;
          const pair = attempts[at % attempts.length] as Pair;
          if (op === 'reopen') await reopen();
          else if (op === 'limit') {
            limit = 1 + (at % 9);
            await reopen();
          } else if (op === 'break') {
            let owed: [Attempt, number] | undefined;
            store.cutAt = store.writes + 1 + (at % 2);
            store.after = at % 3 === 0;
            const lost = ledger.spend([]);
            await lost.durable.catch((error) => assert.ok(error instanceof LedgerUnavailable));
            await ledger.giveBack(lost).catch(() => undefined);
            if (pair && !ledger.usable && ledger.state(pair.attempt.cells[0] as Cell).state === 'live') {
              attempts.splice(attempts.indexOf(pair), 1);
              await assert.rejects(ledger.prove(pair.attempt), LedgerUnavailable);
              owed = [pair.attempt, model.prove(pair.model) as number];
            }
            store.restart();
            if (!ledger.usable) await ledger.reload();
            if (owed)
              assert.equal(await ledger.prove(owed[0]), owed[1], 'told once the token can be written to');
          } else if (op === 'fill') {
            for (const cell of await fill(ledger, 100)) all.push({ cell, model: model.register(limit, []) });
          } else if (op === 'rotate') {
            // End the open attempts first, because the vault waits for them too.
            for (const { attempt, model: i } of attempts.splice(0)) {
              await ledger.fail(attempt);
              model.fail(i);
            }
            if (ledger.pages > 0)
              await rotate(ledger, at % ledger.pages, (from, to, [first, last]) => {
                for (const moved of all) {
                  const { cell, generation } = moved.cell;
                  const isLive = model.cell(moved.model).state === 'live';
                  if (isLive && cell >= first && cell <= last && generation === from)
                    moved.cell = { cell, generation: to };
                }
              });
            // Forget the ended cells, whose page key is destroyed.
            for (const { cell, model: i } of all.splice(0))
              if (model.cell(i).state === 'live' || ledger.state(cell).state !== 'dead')
                all.push({ cell, model: i });
          } else if (op === 'register') {
            const cell = await ledger.pick();
            await ledger.reserve(cell);
            const inherits = one && at % 2 ? [one] : [];
            await ledger.activate(cell, { inherits: inherits.map(({ cell }) => cell) });
            all.push({
              cell,
              model: model.register(
                limit,
                inherits.map((other) => other.model),
              ),
            });
          } else if (op === 'spend' || op === 'spend both') {
            if (!one) continue;
            const other = all[(at * 7) % all.length] as Registered;
            const on = op === 'spend' || other === one ? [one] : [one, other];
            if (model.canSpend(one.model)) {
              const attempt = ledger.spend(on.map(({ cell }) => cell));
              const { used, limit } = model.cell(one.model);
              assert.equal(attempt.attemptsRemaining, limit - used - 1);
              attempts.push({ attempt, model: model.spend(on.map((each) => each.model)) });
              await attempt.durable;
            } else assert.throws(() => ledger.spend([one.cell]), CellClosed);
          } else if (op === 'retire') {
            if (!one) continue;
            await ledger.retire([one.cell]);
            model.retire(one.model);
          } else if (pair) {
            attempts.splice(attempts.indexOf(pair), 1);
            if (op === 'fail') {
              await ledger.fail(pair.attempt);
              model.fail(pair.model);
            } else if (op === 'give back') {
              await ledger.giveBack(pair.attempt);
              model.giveBack(pair.model);
            } else {
              const failed = model.prove(pair.model);
              if (failed === undefined) await assert.rejects(ledger.prove(pair.attempt), CellClosed);
              else for (let i = 0; i < 2; i++) assert.equal(await ledger.prove(pair.attempt), failed);
            }
          }
          if (one && all.includes(one)) check(one);
          if (['reopen', 'rotate', 'break'].includes(op)) for (const each of all) check(each);
        }
        for (const each of all) check(each);
        const places = all.map(({ cell: { cell, generation } }) => `${cell}.${generation}`);
        assert.equal(new Set(places).size, places.length);
        assert.ok(store.keys.size <= ledger.pages, 'a page key was left behind');
      }),
      { seed, numRuns: 300 },
    );
  });

  it('gives back no attempt and loses no account when it is cut before or after any write', async function () {
    this.timeout(60_000);
    const script = async (ledger: Ledger, spent: Map<number, number>, cells: Cell[]) => {
      cells.push(...(await fill(ledger, 20)));
      for (let i = 0; i < 24; i++) {
        const at = i % 3;
        const cell = cells[at] as Cell;
        const used = spent.get(at) ?? 0;
        if (used >= LIMIT - 1) {
          const attempt = ledger.spend([cell]);
          spent.set(at, 0);
          await attempt.durable;
          await ledger.prove(attempt);
        }
        if (i % 8 === 5) {
          await ledger.retire([cells.pop() as Cell]);
          await rotate(ledger, 0, (from, to, [first, last]) => {
            for (const [i, { cell, generation }] of cells.entries())
              if (cell >= first && cell <= last && generation === from) cells[i] = { cell, generation: to };
          });
        }
        await guess(ledger, cells[at] as Cell);
        spent.set(at, (spent.get(at) ?? 0) + 1);
        // Change more of the page than one object holds, so that journals fill.
        if (i % 2) await Promise.all(cells.slice(3).map((other) => again(ledger, other)));
      }
    };
    const again = async (ledger: Ledger, cell: Cell) => {
      const attempt = ledger.spend([cell]);
      await attempt.durable;
      await ledger.giveBack(attempt);
    };
    const whole = new MemoryStore();
    await script(await open(whole), new Map(), []);
    assert.ok(whole.writes > 150, `${whole.writes} writes`);
    for (let cutAt = 1; cutAt <= whole.writes; cutAt++) {
      for (const after of [false, true]) {
        const where = `cut ${after ? 'after' : 'before'} write ${cutAt}`;
        const store = new MemoryStore();
        Object.assign(store, { cutAt, after });
        const spent = new Map<number, number>();
        const cells: Cell[] = [];
        await open(store)
          .then((ledger) => script(ledger, spent, cells))
          .catch((error) => assert.ok(error instanceof LedgerUnavailable || error instanceof Cut, error));
        store.restart();
        const judge = (ledger: Ledger) => {
          for (const [at, cell] of cells.entries()) {
            const now = ledger.state(cell);
            assert.equal(now.state, 'live', where);
            assert.ok(
              now.state === 'live' && now.used >= (spent.get(at) ?? 0),
              `${where}: an attempt came back`,
            );
          }
        };
        const ledger = await open(store);
        judge(ledger);
        assert.ok(store.keys.size <= ledger.pages + 1, `${where}: a page key was left behind`);
        cells.push(await allocate(ledger));
        if (store.unconfirmed === undefined) continue;
        // The object that was visible but never reached the disk disappears in a power cut.
        store.objects.delete(store.unconfirmed);
        judge(await open(store));
      }
    }
  });

  it('opens after any two cuts in a row, also while a page is added or written again', async function () {
    this.timeout(60_000);
    const script = async (ledger: Ledger, used: Map<Cell, number>) => {
      const cells = await fill(ledger, SMALL.pageCells + 6);
      const [cell] = cells as [Cell];
      for (let round = 1; round < LIMIT; round++)
        for (let from = 0; from < cells.length; from += 8) {
          await Promise.all(cells.slice(from, from + 8).map((one) => ledger.spend([one]).durable));
          if (from === 0) used.set(cell, round);
        }
    };
    const whole = new MemoryStore();
    await script(await open(whole), new Map());
    for (let first = 1; first <= whole.writes; first++)
      for (let second = 1; second <= 6; second++) {
        const store = new MemoryStore();
        const used = new Map<Cell, number>();
        Object.assign(store, { cutAt: first, after: first % 2 === second % 2 });
        await open(store)
          .then((ledger) => script(ledger, used))
          .catch(() => undefined);
        Object.assign(store, { cutAt: store.writes + second, after: true });
        await open(store).catch(() => undefined);
        store.restart();
        const ledger = await open(store);
        for (const [cell, least] of used) {
          const now = ledger.state(cell);
          assert.ok(now.state !== 'live' || now.used >= least, `cuts ${first} ${second}`);
        }
      }
  });

  it('opens although a page could not be added before', async () => {
    for (const again of [false, true]) {
      const store = new MemoryStore();
      const ledger = await open(store);
      const cell = await allocate(ledger);
      await fill(ledger, SMALL.pageCells - 1);
      const { replaceData } = store;
      store.replaceData = async (label, value, ...rest) => {
        if (!label.startsWith('bkv.ledger.page.')) return replaceData.call(store, label, value, ...rest);
        store.plant(label, value);
        throw new Error('CKR_DEVICE_ERROR');
      };
      for (let i = 0; i < 3; i++) await assert.rejects(ledger.pick(), LedgerUnavailable);
      store.replaceData = replaceData;
      if (again) await allocate(ledger);
      await guess(ledger, cell);
      const opened = await open(store);
      assert.equal((opened.state(cell) as { used: number }).used, 1);
      assert.equal(opened.pages, again ? 2 : 1);
    }
  });

  describe('attempts', () => {
    it('are given back if no evaluation left the vault, but not once more if another attempt was proven meanwhile', async () => {
      const ledger = await open(new MemoryStore());
      const cell = await allocate(ledger);
      const used = () => (ledger.state(cell) as { used: number }).used;
      const [first, second] = [ledger.spend([cell]), ledger.spend([cell])];
      assert.equal(used(), 2);
      await ledger.giveBack(first);
      await ledger.giveBack(first);
      assert.equal(used(), 1);
      const late = ledger.spend([cell]);
      await ledger.prove(second);
      const after = ledger.spend([cell]);
      await ledger.giveBack(late);
      assert.equal(used(), 1, 'what came back was the attempt of another one');
      await ledger.giveBack(after);
      assert.equal(used(), 0);
    });

    it('cost nothing if the evaluation fails, even ten times, and while the token cannot be written (A10)', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      const cell = await allocate(ledger);
      for (let i = 0; i < 10; i++) {
        const attempt = ledger.spend([cell]);
        await attempt.durable;
        await ledger.giveBack(attempt);
      }
      for (const after of [true, false, true, false, true, false]) {
        Object.assign(store, { cutAt: store.writes + 1, after });
        const attempt = ledger.spend([cell]);
        await assert.rejects(attempt.durable, LedgerUnavailable);
        await ledger.giveBack(attempt);
        store.restart();
        await ledger.reload();
      }
      assert.deepEqual(ledger.state(cell), { state: 'live', used: 0, limit: LIMIT, proven: false, open: 0 });
      for (const after of [true, false]) {
        const attempt = ledger.spend([cell]);
        await attempt.durable;
        Object.assign(store, { cutAt: store.writes + 1, after });
        await assert.rejects(ledger.giveBack(attempt), LedgerUnavailable);
        store.restart();
        await ledger.reload();
        assert.deepEqual(ledger.state(cell), {
          state: 'live',
          used: 0,
          limit: LIMIT,
          proven: false,
          open: 0,
        });
      }
      const again = await open(store);
      assert.deepEqual(again.state(cell), { state: 'live', used: 0, limit: LIMIT, proven: false, open: 0 });
    });

    const now = (used: number, rest = {}) => ({
      state: 'live',
      used,
      limit: LIMIT,
      proven: false,
      open: 0,
      ...rest,
    });
    /** Makes every write fail, before or after its effect. @returns a function that mends the store */
    const failing = (store: MemoryStore, after: boolean) => {
      const { replaceData } = store;
      store.replaceData = async (label, value, ...rest) => {
        if (label === 'bkv.ledger.writer') return replaceData.call(store, label, value, ...rest);
        if (after) store.plant(label, value);
        throw new Error('CKR_DEVICE_ERROR');
      };
      return () => {
        store.replaceData = replaceData;
      };
    };

    it('that were proven stay open until the token holds the proof, which no failed write loses', async () => {
      for (const after of [false, true])
        for (const again of [false, true]) {
          const store = new MemoryStore();
          const ledger = await open(store);
          const [cell, other] = [await allocate(ledger), await allocate(ledger)];
          for (let i = 1; i < LIMIT; i++) await guess(ledger, cell);
          const last = ledger.spend([cell, other]);
          await last.durable;
          const mended = failing(store, after);
          await assert.rejects(ledger.prove(last), LedgerUnavailable);
          await assert.rejects(ledger.prove(last), LedgerUnavailable);
          assert.throws(() => ledger.spend([cell]), LedgerUnavailable);
          await assert.rejects(ledger.lock(cell), LedgerUnavailable);
          for (let i = 0; i < 3; i++) await assert.rejects(ledger.reload());
          assert.equal((ledger.state(cell) as { open: number }).open, after ? 0 : 1);
          mended();
          await ledger.reload();
          if (again) await ledger.prove(last);
          for (const held of [ledger, await open(store)]) {
            assert.deepEqual(held.state(cell), now(0, { proven: true }));
            assert.deepEqual(held.state(other), now(0));
          }
        }
    });

    it('proven while nothing could be written are not given back twice, and later ones stay spent', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      const cell = await allocate(ledger);
      const [late, proven] = [ledger.spend([cell]), ledger.spend([cell])];
      await proven.durable;
      const mended = failing(store, false);
      await assert.rejects(ledger.spend([]).durable, LedgerUnavailable);
      await assert.rejects(ledger.prove(proven), LedgerUnavailable);
      mended();
      await ledger.reload();
      await guess(ledger, cell);
      await ledger.giveBack(late);
      await ledger.prove(proven);
      assert.deepEqual(ledger.state(cell), now(1, { proven: true }));
    });

    it('that failed are told although another is being given back', async () => {
      const ledger = await open(new MemoryStore());
      const [cell, other] = [await allocate(ledger), await allocate(ledger)];
      for (const one of [cell, other]) await guess(ledger, one);
      const [back, proven] = [ledger.spend([cell]), ledger.spend([other, cell])];
      const last = ledger.spend([cell]);
      const given = ledger.giveBack(back);
      const failed = [ledger.prove(proven), ledger.prove(last)];
      assert.deepEqual(await Promise.all(failed), [1, 1]);
      await given;
    });

    it('that are yet to be given back are not counted as failed', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      const cell = await allocate(ledger);
      await guess(ledger, cell);
      const [back, proven] = [ledger.spend([cell]), ledger.spend([cell])];
      await proven.durable;
      const mended = failing(store, false);
      await assert.rejects(ledger.spend([]).durable, LedgerUnavailable);
      await ledger.giveBack(back);
      await assert.rejects(ledger.prove(proven), LedgerUnavailable);
      mended();
      await ledger.reload();
      assert.equal(await ledger.prove(proven), 1);
    });

    it('whose proof another writer could not know can be proven again after a reload', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      const cell = await allocate(ledger);
      const attempt = ledger.spend([cell]);
      await attempt.durable;
      await (await open(store)).spend([cell]).durable;
      await assert.rejects(ledger.prove(attempt), LedgerUnavailable);
      await ledger.reload();
      assert.deepEqual(ledger.state(cell), now(2));
      assert.equal(await ledger.prove(attempt), 0);
      assert.deepEqual(ledger.state(cell), now(0, { proven: true }));
    });

    it('are given back once, however often the write for it takes effect and then fails', async () => {
      for (const after of [true, false]) {
        const store = new MemoryStore();
        const ledger = await open(store);
        const [cell, other] = [await allocate(ledger), await allocate(ledger)];
        for (let i = 0; i < LIMIT - 1; i++) await guess(ledger, cell);
        const counted = ledger.spend([other]);
        await counted.durable;
        await guess(ledger, other);
        const mended = failing(store, after);
        const attempt = ledger.spend([cell]);
        await assert.rejects(attempt.durable, LedgerUnavailable);
        await ledger.giveBack(attempt);
        await ledger.giveBack(counted);
        for (let i = 0; i < 5; i++) await assert.rejects(ledger.reload());
        mended();
        await ledger.reload();
        assert.deepEqual([ledger.state(cell), ledger.state(other)], [now(LIMIT - 1), now(1)]);
      }
    });

    it('are given back although the end of their cell failed meanwhile', async () => {
      for (const end of ['fail', 'retire', 'replace'] as const) {
        const store = new MemoryStore();
        const ledger = await open(store);
        const cell = await allocate(ledger);
        for (let i = 2; i < LIMIT; i++) await guess(ledger, cell);
        const [early, back] = [ledger.spend([cell]), ledger.spend([cell])];
        const next = await ledger.pick();
        await ledger.reserve(next);
        const mended = failing(store, false);
        if (end === 'fail') {
          await assert.rejects(ledger.spend([]).durable, LedgerUnavailable);
          await ledger.giveBack(back);
          await assert.rejects(ledger.fail(early), LedgerUnavailable);
        } else if (end === 'retire') await assert.rejects(ledger.retire([cell]), LedgerUnavailable);
        else await assert.rejects(ledger.activate(next, { ends: [cell] }), LedgerUnavailable);
        mended();
        await ledger.reload();
        await ledger.giveBack(back);
        assert.equal((ledger.state(cell) as { used: number }).used, LIMIT - 1, end);
      }
    });

    it('are given back and proven also if that is asked for while the token is read again', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      const [cell, other] = [await allocate(ledger), await allocate(ledger)];
      const [back, proven] = [ledger.spend([cell]), ledger.spend([other])];
      await proven.durable;
      const mended = failing(store, false);
      await assert.rejects(ledger.spend([]).durable, LedgerUnavailable);
      mended();
      const { replaceData } = store;
      const asked: Promise<unknown>[] = [];
      store.replaceData = async (label, ...rest) => {
        if (label === 'bkv.ledger.journal' && asked.length === 0)
          asked.push(ledger.giveBack(back), assert.rejects(ledger.prove(proven), LedgerUnavailable));
        return replaceData.call(store, label, ...rest);
      };
      await ledger.reload();
      assert.equal((await Promise.all(asked)).length, 2);
      assert.ok(!ledger.owes);
      for (const held of [ledger, await open(store)]) {
        assert.deepEqual(held.state(cell), now(0));
        assert.deepEqual(held.state(other), now(0, { proven: true }));
      }
    });

    it('that were proven are not taken for written when another change takes the place of the proof', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      const cell = await allocate(ledger);
      await guess(ledger, cell);
      const attempt = ledger.spend([cell]);
      await attempt.durable;
      let mended = failing(store, false);
      await assert.rejects(ledger.prove(attempt), LedgerUnavailable);
      mended();
      mended = failing(store, true);
      await assert.rejects(ledger.reload());
      mended();
      await ledger.reload();
      assert.equal(await ledger.prove(attempt), 1);
      assert.deepEqual((await open(store)).state(cell), now(0, { proven: true }));
    });

    it('reset a cell once, however often the proof is asked for while it is written', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      const cell = await allocate(ledger);
      const attempt = ledger.spend([cell]);
      await attempt.durable;
      const proofs = [ledger.prove(attempt)];
      const later = ledger.spend([cell]);
      proofs.push(ledger.prove(attempt));
      await Promise.all([...proofs, later.durable]);
      assert.deepEqual(ledger.state(cell), now(1, { proven: true, open: 1 }));
    });

    it('that the token did not store are not given back after it was read again', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      const cell = await allocate(ledger);
      await guess(ledger, cell);
      const mended = failing(store, false);
      const lost = ledger.spend([cell]);
      await assert.rejects(lost.durable, LedgerUnavailable);
      assert.throws(() => ledger.spend([cell]), LedgerUnavailable);
      mended();
      await ledger.reload();
      await ledger.giveBack(lost);
      assert.deepEqual(ledger.state(cell), now(1));
    });

    it('lock a cell when the last of them fails, and not while others are open', async () => {
      const ledger = await open(new MemoryStore());
      const cell = await allocate(ledger);
      const attempts = Array.from({ length: LIMIT }, () => ledger.spend([cell]));
      const exhausted = (error: Error) => error instanceof CellClosed && error.state === 'exhausted';
      assert.throws(() => ledger.spend([cell]), exhausted);
      await assert.rejects(ledger.lock(cell), exhausted);
      for (const attempt of attempts.slice(1)) assert.deepEqual(await ledger.fail(attempt), []);
      assert.equal(ledger.state(cell).state, 'live');
      assert.deepEqual(await ledger.fail(attempts[0] as never), [cell]);
      assert.deepEqual(ledger.state(cell), { state: 'locked' });
    });

    it('that a crash cut off leave the cell exhausted: not the start locks it, but the next request', async () => {
      const store = new MemoryStore();
      const first = await open(store);
      const cell = await allocate(first);
      for (let i = 0; i < LIMIT; i++) await first.spend([cell]).durable;
      const ledger = await open(store);
      assert.deepEqual(ledger.state(cell), {
        state: 'live',
        used: LIMIT,
        limit: LIMIT,
        proven: false,
        open: 0,
      });
      assert.throws(() => ledger.spend([cell]), CellClosed);
      await ledger.lock(cell);
      assert.deepEqual(ledger.state(cell), { state: 'locked' });
    });

    it('keep the limit of their registration, whatever is configured later', async () => {
      const store = new MemoryStore();
      const ten = await open(store, { limit: 10 });
      const old = await allocate(ten);
      for (let i = 0; i < 7; i++) await guess(ten, old);
      const five = await open(store, { limit: 5 });
      assert.deepEqual(five.state(old), { state: 'live', used: 7, limit: 10, proven: false, open: 0 });
      const young = await allocate(five);
      const hundred = await open(store, { limit: 100 });
      for (const [cell, left] of [
        [old, 3],
        [young, 5],
      ] as const) {
        for (let i = 0; i < left; i++) await guess(hundred, cell);
        assert.deepEqual(hundred.state(cell), { state: 'locked' });
      }
    });

    it('of a new dealing begin at the account’s count, and a proof gives the other dealings one back', async () => {
      const ledger = await open(new MemoryStore());
      const old = await allocate(ledger);
      await guess(ledger, old);
      await guess(ledger, old);
      const dealt = await ledger.pick();
      await ledger.reserve(dealt);
      const racing = ledger.spend([old]);
      await ledger.activate(dealt, { inherits: [old] });
      assert.deepEqual(ledger.state(dealt), { state: 'live', used: 3, limit: LIMIT, proven: false, open: 0 });
      const attempt = ledger.spend([dealt, old]);
      await ledger.prove(attempt);
      assert.deepEqual(ledger.state(dealt), { state: 'live', used: 0, limit: LIMIT, proven: true, open: 0 });
      assert.deepEqual(ledger.state(old), { state: 'live', used: 3, limit: LIMIT, proven: false, open: 1 });
      await ledger.fail(racing);
    });
  });

  describe('room', () => {
    it('is made once, however many registrations need it at the same time', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      const cells = await Promise.all(Array.from({ length: 100 }, () => ledger.pick()));
      assert.equal(new Set(cells.map(({ cell }) => cell)).size, 100);
      assert.deepEqual([ledger.pages, store.keys.size], [2, 2]);
      await Promise.all([ledger.beginRotation(0), ledger.beginRotation(0)]);
      assert.equal(store.keys.size, 3);
    });

    it('a full token refuses registrations and nothing else (A11)', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      const cells = await fill(ledger, 64);
      for (const full of ['full', 'pagesFull'] as const) {
        store[full] = true;
        await assert.rejects(ledger.pick(), LedgerUnavailable);
        assert.ok(ledger.usable);
        await guess(ledger, cells[0] as Cell);
        store[full] = false;
      }
      assert.equal(store.keys.size, 1, 'a page key was left behind');
      await allocate(ledger);
      const again = await open(store);
      assert.deepEqual([again.pages, (again.state(cells[0] as Cell) as { used: number }).used], [2, 2]);
    });

    it('a page that cannot be made says why, and is not called a lack of room if it is none', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      await fill(ledger, 64);
      const { generatePageKey, replaceData } = store;
      const away = new TokenError('the token is away', 'BKV_AWAY');
      const refusedBy = async () => {
        const error = (await ledger.pick().catch((error: Error) => error)) as LedgerUnavailable;
        return [error.message, (error.cause as TokenError).reason];
      };
      const other = 'the token could not make another page of retry counters';
      store.generatePageKey = async () => Promise.reject(away);
      assert.deepEqual(await refusedBy(), [other, 'BKV_AWAY']);
      store.generatePageKey = async () => Promise.reject(new TokenError('full', 'BKV_NOT_WRITTEN'));
      assert.deepEqual(await refusedBy(), [
        'the token has no room for another page of retry counters',
        'BKV_NOT_WRITTEN',
      ]);
      store.generatePageKey = generatePageKey;
      assert.ok(ledger.usable);
      store.replaceData = async () => Promise.reject(new TokenError('another writer', 'BKV_FENCED'));
      await assert.rejects(ledger.pick(), LedgerUnavailable);
      assert.ok(ledger.fenced);
      store.replaceData = replaceData;
    });

    it('locked and ended cells become free with their page’s rotation; those that end during it, with the next (A11)', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      const cells = await fill(ledger, 64);
      const [locked, dead, late, live] = cells as [Cell, Cell, Cell, Cell];
      for (let i = 0; i < LIMIT; i++) await guess(ledger, locked);
      await ledger.retire([dead]);
      const rotation = await ledger.beginRotation(0);
      assert.deepEqual(ledger.state(locked), { state: 'locked' }, 'the vault still has to write it down');
      const moved = { ...late, generation: rotation.to };
      await ledger.retire([moved]);
      await ledger.finishRotation(rotation);
      const free = [await ledger.pick(), await ledger.pick()].map(({ cell }) => cell).sort((a, b) => a - b);
      assert.deepEqual(free, [locked.cell, dead.cell]);
      // This cell stays taken, because a record of the new generation may name it. A cell is used once in a generation.
      assert.deepEqual(ledger.state(moved), { state: 'dead' });
      assert.deepEqual(ledger.unshredded(), [0]);
      const reopened = await open(store);
      assert.deepEqual(reopened.state({ ...live, generation: rotation.to }).state, 'live');
      await rotate(reopened, 0, () => undefined);
      assert.deepEqual(reopened.unshredded(), []);
    });

    it('a page whose accounts are all attacked becomes several objects, and loses no count', async function () {
      this.timeout(30_000);
      const store = new MemoryStore();
      const ledger = await Ledger.open(store, { limit: 10 });
      const cells = await fill(ledger, 16_000);
      const pages = () => store.labelled('bkv.ledger.page.0');
      assert.equal(pages().length, 1);
      const expected = cells.map((_, i) => (i * 7919) % 10);
      for (let round = 1; round < 10; round++)
        await Promise.all(
          cells.filter((_, i) => (expected[i] as number) >= round).map((cell) => guess(ledger, cell)),
        );
      assert.ok(pages().length > 1, `${pages().length} objects`);
      for (const [, { value }] of store.objects) assert.ok(value.length <= 4096, `${value.length} bytes`);
      const again = await Ledger.open(store, { limit: 10 });
      for (const [i, cell] of cells.entries())
        assert.deepEqual(again.state(cell), {
          state: 'live',
          used: expected[i],
          limit: 10,
          proven: false,
          open: 0,
        });
      assert.ok(store.objects.size < 100, `${store.objects.size} objects`);
    });
  });

  describe('writers', () => {
    it('there is one, the last to open the ledger; the one before can acknowledge and destroy nothing more', async () => {
      const store = new MemoryStore();
      const first = await open(store);
      const cell = await allocate(first);
      await first.spend([cell]).durable;
      const second = await open(store);
      const objects = [...store.objects.keys()];
      await assert.rejects(first.spend([cell]).durable, LedgerUnavailable);
      assert.ok(
        objects.every((handle) => store.objects.has(handle)),
        'the fenced writer destroyed an object',
      );
      assert.ok(!first.usable && first.fenced);
      await second.spend([cell]).durable;
      await second.spend([cell]).durable;
      const third = await open(store);
      assert.deepEqual(third.state(cell), { state: 'live', used: 3, limit: LIMIT, proven: false, open: 0 });
    });

    it('of two that open the ledger at once, at most one writes', async () => {
      for (let delay = 0; delay < 12; delay++) {
        const store = new MemoryStore();
        const cell = await allocate(await open(store));
        const wait = async () => {
          for (let i = 0; i < delay; i++) await Promise.resolve();
        };
        const opened = await Promise.allSettled([open(store), wait().then(() => open(store))]);
        const spent = await Promise.allSettled(
          opened.flatMap((result) =>
            result.status === 'fulfilled' ? result.value.spend([cell]).durable : [],
          ),
        );
        const acknowledged = spent.filter(({ status }) => status === 'fulfilled').length;
        assert.ok(acknowledged <= 1, `${acknowledged} writers after a delay of ${delay}`);
        const now = (await open(store)).state(cell);
        assert.ok(now.state === 'live' && now.used >= acknowledged);
      }
    });

    it('a page that a fenced writer was still writing never counts', async () => {
      const store = new MemoryStore();
      const zombie = await open(store);
      const cells = await fill(zombie, 3);
      const write = store.replaceData.bind(store);
      const late: [string, Uint8Array][] = [];
      store.replaceData = async (label, value, ...rest) => {
        if (label.startsWith('bkv.ledger.page.')) late.push([label, value]);
        return write(label, value, ...rest);
      };
      await zombie.beginRotation(0);
      store.replaceData = write;
      const [label, value] = late[0] as [string, Uint8Array];
      // It appears two take-overs later, when the present writer has not written the page yet.
      await open(store);
      const ledger = await open(store);
      await guess(ledger, cells[0] as Cell);
      store.plant(label, value);
      const again = await open(store);
      assert.equal((again.state(cells[0] as Cell) as { used: number }).used, 1);
    });

    it('gives a picked cell to nobody else, also after the token was read again', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      const account = await allocate(ledger);
      const [first, second] = [await ledger.pick(), await ledger.pick()];
      store.cutAt = store.writes + 1;
      await assert.rejects(ledger.spend([]).durable, LedgerUnavailable);
      store.restart();
      await ledger.reload();
      const third = await ledger.pick();
      assert.equal(new Set([account, first, second, third].map(({ cell }) => cell)).size, 4);
      ledger.release(first);
      ledger.release(first);
      const again = [await ledger.pick(), await ledger.pick()];
      assert.equal(new Set([second, third, ...again].map(({ cell }) => cell)).size, 4);

      const other = await open(store);
      const taken: Cell[] = [];
      for (let i = 0; i < 4; i++) taken.push(await allocate(other));
      assert.ok(taken.some(({ cell }) => cell === second.cell));
      await other.spend([second]).durable;
      await assert.rejects(ledger.spend([]).durable, LedgerUnavailable);
      await ledger.reload();
      await assert.rejects(ledger.reserve(second), CellClosed);
      assert.equal((ledger.state(second) as { used: number }).used, 1);
    });

    it('gives out a picked cell again if it could not be reserved', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      const picked = await ledger.pick();
      store.cutAt = store.writes + 1;
      await assert.rejects(ledger.spend([]).durable, LedgerUnavailable);
      await assert.rejects(ledger.reserve(picked), LedgerUnavailable);
      store.restart();
      await ledger.reload();
      assert.deepEqual(await ledger.pick(), picked);
    });

    it('makes a cell live only for the registration that reserved it', async () => {
      const store = new MemoryStore();
      const ledger = await open(store);
      const cell = await ledger.pick();
      await ledger.reserve(cell);
      store.cutAt = store.writes + 1;
      await assert.rejects(ledger.spend([]).durable, LedgerUnavailable);
      store.restart();
      await ledger.reload();
      await assert.rejects(ledger.activate(cell), CellClosed);
      await assert.rejects(ledger.lock(cell), CellClosed);
    });
  });
});
