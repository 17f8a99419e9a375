import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { seal } from '../../src/keeper/ledger/formats/frame.js';
import { decodeJournal, decodePage, encodePage } from '../../src/keeper/ledger/formats/v3.js';
import { type Cell, Ledger, LedgerCorrupt } from '../../src/keeper/ledger/index.js';
import { activated, toWord } from '../../src/keeper/ledger/state.js';
import { Cut, MemoryStore } from '../support/memory-store.js';

const OPTIONS = { limit: 4, pageCells: 64, objectBytes: 256 };
const JOURNAL = 'bkv.ledger.journal';
const PAGE = 'bkv.ledger.page.0';

async function allocate(ledger: Ledger): Promise<Cell> {
  const cell = await ledger.pick();
  await ledger.reserve(cell);
  await ledger.activate(cell);
  return cell;
}

async function guess(ledger: Ledger, cell: Cell): Promise<void> {
  const attempt = ledger.spend([cell]);
  await attempt.durable;
  await ledger.fail(attempt);
}

const usedOf = (ledger: Ledger, cell: Cell): number | undefined => {
  const now = ledger.state(cell);
  return now.state === 'live' ? now.used : undefined;
};

const kept = (mark: Uint8Array) => [{ mark, keeper: 'the test' }];

const only = (store: MemoryStore, label: string) =>
  store.labelled(label).at(-1) as [string, { label: string; value: Uint8Array }];

interface Golden {
  macKey: string;
  keys: string[];
  pages: { first: number; cells: number; generation: number }[];
  objects: { label: string; value: string }[];
  mark?: string;
  cells: Record<string, number[]>;
}

const golden = (version: number): Golden =>
  JSON.parse(readFileSync(`test/golden/ledger/version-${version}.json`, 'utf8'));

function storeOf({ macKey, keys, objects }: Golden): MemoryStore {
  const store = new MemoryStore(Buffer.from(macKey, 'hex'));
  for (const key of keys) store.keys.add(key);
  for (const { label, value } of objects) store.plant(label, Buffer.from(value, 'base64'));
  return store;
}

/** Checks that a ledger has the golden file's state of each cell. */
function says(ledger: Ledger, { pages, cells }: Golden, words: (cell: Cell) => string): void {
  for (const [expected, numbers] of Object.entries(cells))
    for (const cell of numbers) {
      const page = pages.find(({ first, cells }) => cell >= first && cell < first + cells);
      const { generation } = page as { generation: number };
      assert.equal(words({ cell, generation }), expected, `cell ${cell}`);
    }
  assert.ok(ledger.usable);
}

describe("the ledger's objects", () => {
  describe('of every version can always be read', () => {
    it('does not count a page that a crash cut off, though the next start is cut off too', async () => {
      const store = new MemoryStore();
      const ledger = await Ledger.open(store, OPTIONS);
      const cell = await allocate(ledger);
      await guess(ledger, cell);
      const journal = decodeJournal(only(store, JOURNAL)[1].value);
      const page = decodePage(only(store, PAGE)[1].value);
      // It is in several objects, and no journal was written after it.
      const words = page.words.map((_, i) =>
        toWord({ ...activated(200, (i * 7919) % 191), proven: i % 3 === 0 }),
      );
      const parts = encodePage({ ...page, ledger: journal.ledger, sequence: journal.last, words }, 180);
      assert.ok(parts.length > 1);
      for (const { body } of parts) store.plant(PAGE, await seal((data) => store.mac(data), PAGE, body));
      for (const after of [false, true]) {
        const { replaceData } = store;
        store.replaceData = async (label, value, ...rest) => {
          if (label !== JOURNAL) return replaceData.call(store, label, value, ...rest);
          if (after) store.plant(label, value);
          throw new Cut();
        };
        await assert.rejects(Ledger.open(store, OPTIONS), Cut);
        store.replaceData = replaceData;
      }
      assert.equal(usedOf(await Ledger.open(store, OPTIONS), cell), 1);
    });

    it('version 3', async () => {
      const file = golden(3);
      const ledger = await Ledger.open(storeOf(file), {
        limit: 99,
        marks: kept(Buffer.from(file.mark as string, 'base64')),
      });
      says(ledger, file, (cell) => {
        const now = ledger.state(cell);
        return now.state === 'live'
          ? `live ${now.used} of ${now.limit}${now.proven ? ' proven' : ''}`
          : now.state;
      });
    });

    const inV2 = (ledger: Ledger) => (cell: Cell) => {
      const now = ledger.state(cell);
      return now.state === 'live' ? `used ${now.used}` : now.state;
    };

    it('version 2, which becomes version 3 in place', async () => {
      const file = golden(2);
      const store = storeOf(file);
      const upgraded = await Ledger.open(store, { limit: 10 });
      says(upgraded, file, inV2(upgraded));
      assert.ok(
        [...store.objects.values()].every(({ label, value }) => label.endsWith('writer') || value[4] === 3),
      );
      const again = await Ledger.open(store, { limit: 3 });
      says(again, file, inV2(again));
      assert.equal(again.pages, 2);
      const cell = await allocate(again);
      assert.equal(again.pageOf(cell.cell) >= 0, true);
    });

    it('version 2, cut before and after every write of the upgrade', async () => {
      const file = golden(2);
      const whole = storeOf(file);
      await Ledger.open(whole, { limit: 10 });
      for (let cutAt = 1; cutAt <= whole.writes; cutAt++)
        for (const after of [false, true]) {
          const store = storeOf(file);
          Object.assign(store, { cutAt, after });
          await Ledger.open(store, { limit: 10 }).catch(() => undefined);
          store.restart();
          const ledger = await Ledger.open(store, { limit: 10 });
          says(ledger, file, inV2(ledger));
        }
    });

    it('but not version 2 if the database knows a newer state, nor a version newer than this program', async () => {
      const old = storeOf(golden(2));
      const mark = await (await Ledger.open(storeOf(golden(3)), { limit: 10 })).mark();
      await assert.rejects(
        Ledger.open(old, { limit: 10, marks: kept(mark) }),
        /version 2 only, but there was a newer one/,
      );

      const store = new MemoryStore();
      const cell = await allocate(await Ledger.open(store, OPTIONS));
      const [, { value }] = only(store, JOURNAL);
      const newer = value.slice();
      newer[4] = 4;
      store.plant(JOURNAL, newer);
      const ledger = await Ledger.open(store, OPTIONS);
      assert.equal(usedOf(ledger, cell), 0, 'anybody can write a number');
      const { seal } = await import('../../src/keeper/ledger/formats/frame.js');
      store.plant(
        JOURNAL,
        await seal((data) => store.mac(data), JOURNAL, newer.subarray(0, newer.length - 32)),
      );
      await assert.rejects(Ledger.open(store, OPTIONS), /of version 4, and this program knows version 3/);
    });
  });

  describe('that somebody else put there', () => {
    const begun = async () => {
      const store = new MemoryStore();
      const ledger = await Ledger.open(store, OPTIONS);
      const cell = await allocate(ledger);
      return { store, ledger, cell };
    };

    it('without the key are ignored, and the genuine ones are read', async () => {
      const { store, ledger, cell } = await begun();
      for (let i = 0; i < 3; i++) await guess(ledger, cell);
      const other = new MemoryStore();
      const foreign = await Ledger.open(other, OPTIONS);
      for (let i = 0; i < 9; i++) await allocate(foreign);
      for (const { label, value } of other.objects.values()) store.plant(label, value);
      const [, journal] = only(store, JOURNAL);
      for (const [label, value] of [
        [JOURNAL, new Uint8Array(0)],
        [JOURNAL, Buffer.alloc(4096, 0xff)],
        [PAGE, Buffer.from('BKVP')],
        [`${PAGE}9`, journal.value],
        ['bkv.ledger.writer', Buffer.alloc(16)],
      ] as const)
        store.plant(label, value);
      const reopened = await Ledger.open(store, OPTIONS);
      assert.equal(usedOf(reopened, cell), 3);
    });

    it('with any byte altered count as missing', async () => {
      const { store, ledger, cell } = await begun();
      await guess(ledger, cell);
      for (const label of [JOURNAL, PAGE]) {
        const [handle, object] = only(store, label);
        for (let at = 0; at < object.value.length; at += 7) {
          const altered = object.value.slice();
          altered[at] = (altered[at] as number) ^ 1;
          const copy = new MemoryStore(store.macKey);
          for (const key of store.keys) copy.keys.add(key);
          for (const [other, { label, value }] of store.objects)
            copy.plant(label, other === handle ? altered : value);
          await assert.rejects(Ledger.open(copy, OPTIONS), LedgerCorrupt, `${label} byte ${at}`);
        }
      }
    });

    it('that are genuine but older give no attempts back: a page, beside the newer one and in its place', async () => {
      const { store, ledger, cell } = await begun();
      const rotation = await ledger.beginRotation(0);
      const moved = { ...cell, generation: rotation.to };
      const old = only(store, PAGE)[1].value;
      for (let i = 0; i < 3; i++) await guess(ledger, moved);
      await ledger.finishRotation(rotation);
      store.plant(PAGE, old);
      assert.equal(usedOf(await Ledger.open(store, OPTIONS), moved), 3, 'beside the newer one');
      const [newer] = only(store, PAGE);
      store.objects.delete(newer);
      store.plant(PAGE, old);
      await assert.rejects(Ledger.open(store, OPTIONS), /an older one stands in the place of one/);
    });

    it('in a wrong place: a page under the label of another, or a duplicate', async () => {
      const { store, ledger, cell } = await begun();
      for (let i = 0; i < 70; i++) await allocate(ledger);
      await guess(ledger, cell);
      const [first, object] = only(store, PAGE);
      const [second, other] = only(store, 'bkv.ledger.page.1');
      store.plant(PAGE, object.value);
      assert.equal(usedOf(await Ledger.open(store, OPTIONS), cell), 1);
      for (const [handle] of [...store.labelled(PAGE), ...store.labelled('bkv.ledger.page.1')])
        store.objects.delete(handle);
      store.objects.set(first, { label: PAGE, value: other.value });
      store.objects.set(second, { label: 'bkv.ledger.page.1', value: object.value });
      await assert.rejects(Ledger.open(store, OPTIONS), LedgerCorrupt);
    });

    it('as a whole older ledger are refused if its newer mark is known, and while the ledger runs', async () => {
      const { store, ledger, cell } = await begun();
      const old = new Map(store.objects);
      const mark = await ledger.mark();
      for (let i = 0; i < 3; i++) await guess(ledger, cell);
      const newer = await ledger.mark();
      const now = new Map(store.objects);
      store.objects = new Map(old);
      await assert.rejects(
        Ledger.open(store, { ...OPTIONS, marks: kept(newer) }),
        /older state of the retry counters/,
      );
      store.objects = new Map(old);
      store.cutAt = store.writes + 1;
      await assert.rejects(ledger.spend([cell]).durable);
      store.restart();
      await assert.rejects(ledger.reload(), /older/);
      for (const known of [mark, newer]) {
        store.objects = new Map(now);
        assert.equal(usedOf(await Ledger.open(store, { ...OPTIONS, marks: kept(known) }), cell), 3);
      }
      store.objects.clear();
      await assert.rejects(Ledger.open(store, { ...OPTIONS, marks: kept(newer) }), /older state/);
    });

    it('are refused with a mark that is not this token’s, or was altered', async () => {
      const { store, ledger } = await begun();
      const mark = await ledger.mark();
      for (let at = 0; at < mark.length; at += 3) {
        const altered = mark.slice();
        altered[at] = (altered[at] as number) ^ 0x10;
        await assert.rejects(
          Ledger.open(store, { ...OPTIONS, marks: kept(altered) }),
          /not one that this token made/,
        );
      }
      const foreign = await (await Ledger.open(new MemoryStore(), OPTIONS)).mark();
      await assert.rejects(
        Ledger.open(store, { ...OPTIONS, marks: kept(foreign) }),
        /not one that this token made/,
      );
    });

    it('are named if they are missing: a journal in the middle, a page', async () => {
      const store = new MemoryStore();
      const ledger = await Ledger.open(store, OPTIONS);
      while (store.labelled(JOURNAL).length < 3) await allocate(ledger);
      const [, middle] = store.labelled(JOURNAL).map(([handle]) => handle) as [string, string];
      const object = store.objects.get(middle) as { label: string; value: Uint8Array };
      store.objects.delete(middle);
      await assert.rejects(Ledger.open(store, OPTIONS), /journal \d+ is missing/);
      store.objects.set(middle, object);
      for (const [handle] of store.labelled(PAGE)) store.objects.delete(handle);
      await assert.rejects(Ledger.open(store, OPTIONS), /holds none of the 1 page objects/);
    });
  });
});
