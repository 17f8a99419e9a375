import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  encodeJournal,
  encodePage,
  JOURNAL_LABEL,
  live,
  PAGE_LABEL,
  PAGE_SLOTS,
} from '../src/keeper/ledger/format.js';
import {
  Ledger,
  type LedgerStore,
  LedgerUnavailable,
  type Slot,
  SlotClosed,
} from '../src/keeper/ledger/index.js';
import { replay } from '../src/keeper/ledger/replay.js';
import { type DataObject, Token, type Writer } from '../src/keeper/pkcs11/index.js';
import { ledgerStore } from '../src/keeper/vault/index.js';
import { seed } from './support/random.js';
import { freshToken } from './support/token.js';

const MAX = 4;

class Cut extends Error {}

/** A token's objects in memory that can stop before or after any write, as a crash does. Real tokens are tested below. */
class CrashingStore implements LedgerStore {
  objects = new Map<string, { label: string; value: Uint8Array }>();
  keys = new Set<string>();
  writes = 0;
  cutAt = Number.POSITIVE_INFINITY;
  after = false;
  #next = 0;

  #write<T>(effect: () => T): T {
    this.writes++;
    if (this.writes > this.cutAt || (this.writes === this.cutAt && !this.after)) throw new Cut();
    const result = effect();
    if (this.writes === this.cutAt) throw new Cut();
    return result;
  }
  async replaceData(
    label: string,
    value: Uint8Array,
    superseded: readonly string[],
    writer?: Writer,
  ): Promise<string> {
    const handle = String(this.#next++);
    this.#write(() => this.objects.set(handle, { label, value: value.slice() }));
    if (writer && !this.objects.has(writer.handle)) throw new Cut('fenced');
    for (const old of superseded) await this.destroyData(old);
    return handle;
  }
  async destroyData(handle: string): Promise<void> {
    this.#write(() => this.objects.delete(handle));
  }
  async listData(prefix: string): Promise<DataObject[]> {
    return [...this.objects]
      .filter(([, { label }]) => label.startsWith(prefix))
      .map(([handle, object]) => ({ handle, ...object }));
  }
  async refresh(): Promise<void> {}
  async generateWrappingKey(label: string): Promise<void> {
    this.#write(() => this.keys.add(label));
  }
  async destroyWrappingKey(label: string): Promise<void> {
    this.#write(() => this.keys.delete(label));
  }
  async listWrappingKeys(): Promise<string[]> {
    return [...this.keys];
  }
  restart(): void {
    this.cutAt = Number.POSITIVE_INFINITY;
  }
}

async function allocate(ledger: Ledger): Promise<Slot> {
  const slot = await ledger.pick();
  await ledger.reserve(slot);
  await ledger.activate(slot);
  return slot;
}

/** More than a journal object holds. */
const FILL = 1000;

async function fill(ledger: Ledger): Promise<Slot[]> {
  const slots: Slot[] = [];
  for (let i = 0; i < FILL; i++) slots.push(await ledger.pick());
  await Promise.all(slots.map((slot) => ledger.reserve(slot)));
  await Promise.all(slots.map((slot) => ledger.activate(slot)));
  return slots;
}

/** Moves what is live in a page to a new generation, as the vault does with its records. */
async function rotate(ledger: Ledger, page: number, slots: Slot[]): Promise<void> {
  const rotation = await ledger.beginRotation(page);
  slots.forEach((slot, i) => {
    if (slot.slot >= rotation.slots[0] && slot.slot <= rotation.slots[1] && slot.generation === rotation.from)
      if (['live', 'locked'].includes(ledger.state(slot).state))
        slots[i] = { ...slot, generation: rotation.to };
  });
  await ledger.finishRotation(rotation);
}

type Model = number | 'locked' | 'dead';
const expected = (model: Model) =>
  typeof model === 'number' ? { state: 'live', used: model } : { state: model };

describe(`ledger (BKV_SEED=${seed})`, () => {
  const command = fc.record({
    op: fc.oneof(
      { weight: 20, arbitrary: fc.constantFrom('allocate', 'spend', 'restore', 'lock', 'retire') },
      { weight: 3, arbitrary: fc.constantFrom('reopen', 'rotate', 'fill') },
    ),
    at: fc.oneof(fc.nat(3), fc.nat(10_000)),
  });

  it('does what a plain map of counters does, over restarts, folds and rotations', async function () {
    this.timeout(120_000);
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 150 }), async (commands) => {
        const store = new CrashingStore();
        let ledger = await Ledger.open(store, MAX);
        const slots: Slot[] = [];
        const model: Model[] = [];
        const check = (i: number) =>
          assert.deepEqual(ledger.state(slots[i] as Slot), expected(model[i] as Model));
        for (const { op, at } of commands) {
          if (op === 'reopen') ledger = await Ledger.open(store, MAX);
          else if (op === 'fill') {
            const filled = await fill(ledger);
            slots.push(...filled);
            model.push(...filled.map(() => 0));
          } else if (op === 'allocate') {
            slots.push(await allocate(ledger));
            model.push(0);
          } else if (op === 'rotate') {
            if (ledger.pages > 0) await rotate(ledger, at % ledger.pages, slots);
          } else if (slots.length > 0) {
            const i = at % slots.length;
            const slot = slots[i] as Slot;
            const used = model[i];
            if (op === 'spend') {
              if (typeof used === 'number' && used < MAX) {
                const { attemptsRemaining, durable } = ledger.spend(slot);
                assert.equal(attemptsRemaining, MAX - used - 1);
                await durable;
                model[i] = used + 1;
              } else assert.throws(() => ledger.spend(slot), SlotClosed);
            } else if (typeof used === 'number') {
              await ledger[op](slot);
              model[i] = op === 'restore' ? 0 : op === 'lock' ? 'locked' : 'dead';
            }
            check(i);
          }
          if (['reopen', 'rotate'].includes(op)) for (const i of slots.keys()) check(i);
        }
        for (const i of slots.keys()) check(i);
        assert.equal(
          new Set(slots.map(({ slot, generation }) => `${slot}.${generation}`)).size,
          slots.length,
        );
        assert.ok(store.objects.size < ledger.pages + 10, `the token holds ${store.objects.size} objects`);
        assert.ok(store.keys.size <= ledger.pages, 'a wrapping key was left behind');
      }),
      { seed, numRuns: 300 },
    );
  });

  it('is cut before and after every single write, and gives no attempt back and loses no account', async function () {
    this.timeout(120_000);
    const script = async (ledger: Ledger, spent: Map<number, number>, slots: Slot[]) => {
      slots.push(...(await fill(ledger)));
      // Enough full journal objects that pages are folded from here on.
      for (let i = 0; i < 5; i++) await fill(ledger);
      for (let i = 0; i < 40; i++) {
        const slot = slots[i % 3] as Slot;
        if (i % 4 === 3) {
          spent.set(slot.slot, 0);
          await ledger.restore(slot);
        }
        if (i % 20 === 10) {
          await ledger.retire(slots.pop() as Slot);
          await rotate(ledger, 0, slots);
        }
        try {
          await ledger.spend(slots[i % 3] as Slot).durable;
          spent.set(slot.slot, (spent.get(slot.slot) ?? 0) + 1);
        } catch (error) {
          if (!(error instanceof SlotClosed)) throw error;
        }
      }
    };
    const whole = new CrashingStore();
    await script(await Ledger.open(whole, MAX), new Map(), []);
    assert.ok(whole.writes > 100);
    for (let cutAt = 1; cutAt <= whole.writes; cutAt++) {
      for (const after of [false, true]) {
        const where = `cut ${after ? 'after' : 'before'} write ${cutAt}`;
        const store = new CrashingStore();
        Object.assign(store, { cutAt, after });
        const spent = new Map<number, number>();
        const slots: Slot[] = [];
        await Ledger.open(store, MAX)
          .then((ledger) => script(ledger, spent, slots))
          .catch((error) => assert.ok(error instanceof LedgerUnavailable || error instanceof Cut, error));
        store.restart();
        const ledger = await Ledger.open(store, MAX);
        for (const slot of slots) {
          const now = ledger.state(slot);
          assert.equal(now.state, 'live', where);
          assert.ok(
            now.state === 'live' && now.used >= (spent.get(slot.slot) ?? 0),
            `${where}: an attempt came back`,
          );
        }
        assert.ok(store.keys.size <= ledger.pages + 1, `${where}: a wrapping key was left behind`);
        await allocate(ledger);
      }
    }
  });

  it('has one writer: who opens it last; the one before can acknowledge and destroy nothing more', async () => {
    const store = new CrashingStore();
    const first = await Ledger.open(store, MAX);
    const slot = await allocate(first);
    await first.spend(slot).durable;
    const second = await Ledger.open(store, MAX);
    const objects = [...store.objects.keys()];
    await assert.rejects(first.spend(slot).durable, LedgerUnavailable);
    assert.ok(
      objects.every((handle) => store.objects.has(handle)),
      'the fenced writer destroyed an object',
    );
    assert.throws(() => assert.ok(first.usable));
    await second.spend(slot).durable;
    await second.spend(slot).durable;
    const third = await Ledger.open(store, MAX);
    assert.deepEqual(third.state(slot), { state: 'live', used: 3 });
  });

  it('two that open it at once do not both write', async () => {
    for (let delay = 0; delay < 12; delay++) {
      const store = new CrashingStore();
      const slot = await allocate(await Ledger.open(store, MAX));
      const wait = async () => {
        for (let i = 0; i < delay; i++) await Promise.resolve();
      };
      const opened = await Promise.allSettled([
        Ledger.open(store, MAX),
        wait().then(() => Ledger.open(store, MAX)),
      ]);
      const spent = await Promise.allSettled(
        opened.flatMap((result) => (result.status === 'fulfilled' ? result.value.spend(slot).durable : [])),
      );
      const acknowledged = spent.filter(({ status }) => status === 'fulfilled').length;
      assert.ok(acknowledged <= 1, `${acknowledged} writers after a delay of ${delay}`);
      const now = (await Ledger.open(store, MAX)).state(slot);
      assert.ok(now.state === 'live' && now.used >= acknowledged);
    }
  });

  it('a journal does not undo what its page was folded with later', () => {
    const slots = new Uint8Array(PAGE_SLOTS);
    slots[0] = live(3);
    const page = encodePage({ page: 0, generation: 7, next: 0, sequence: 10n, slots });
    const journal = (first: bigint, last: bigint, changes: [number, number][]) => ({
      label: JOURNAL_LABEL,
      handle: String(first),
      value: encodeJournal({ first, last, folded: 0n, term: 1, pages: 1, changes: new Map(changes) }),
    });
    const { pages } = replay([
      { label: `${PAGE_LABEL}0`, handle: 'page', value: page },
      journal(1n, 5n, [[0, live(1)]]),
      journal(6n, 12n, [[1, live(2)]]),
    ]);
    assert.deepEqual([...(pages[0]?.slots.subarray(0, 2) ?? [])], [live(3), live(2)]);
  });

  it('refuses a missing journal object and a missing page', async () => {
    const store = new CrashingStore();
    let ledger = await Ledger.open(store, MAX);
    const slot = await allocate(ledger);
    // Each take-over begins a journal object.
    for (let i = 0; i < 3; i++) {
      ledger = await Ledger.open(store, MAX);
      await ledger.spend(slot).durable;
    }
    const handles = [...store.objects]
      .filter(([, { label }]) => label === 'bkv.ledger.journal')
      .map(([handle]) => handle);
    assert.ok(handles.length >= 3);
    const middle = handles[1] as string;
    const object = store.objects.get(middle) as { label: string; value: Uint8Array };
    store.objects.delete(middle);
    await assert.rejects(Ledger.open(store, MAX), /journal \d+ is missing/);
    store.objects.set(middle, object);
    const [page] = [...store.objects]
      .filter(([, { label }]) => label.startsWith('bkv.ledger.page.'))
      .map(([handle]) => handle);
    store.objects.delete(page as string);
    await assert.rejects(Ledger.open(store, MAX), /page 0 is missing/);
  });

  it('refuses, while it runs, a token that was put back to an older state', async () => {
    const store = new CrashingStore();
    const ledger = await Ledger.open(store, MAX);
    const slot = await allocate(ledger);
    const old = new Map(store.objects);
    await ledger.spend(slot).durable;
    store.objects = old;
    store.cutAt = store.writes + 1;
    await assert.rejects(ledger.spend(slot).durable, LedgerUnavailable);
    store.restart();
    await assert.rejects(ledger.reload(), /older than those that were acknowledged/);
  });

  it('gives a picked slot to nobody else, also after the token was read again', async () => {
    const store = new CrashingStore();
    const ledger = await Ledger.open(store, MAX);
    const account = await allocate(ledger);
    const [first, second] = [await ledger.pick(), await ledger.pick()];
    const breakAndReload = async () => {
      store.cutAt = store.writes + 1;
      await assert.rejects(ledger.spendNothing(), LedgerUnavailable);
      store.restart();
      await ledger.reload();
    };
    await breakAndReload();
    const third = await ledger.pick();
    assert.equal(new Set([account, first, second, third].map(({ slot }) => slot)).size, 4);
    ledger.release(first);
    ledger.release(first);
    const again = [await ledger.pick(), await ledger.pick()];
    assert.equal(new Set([second, third, ...again].map(({ slot }) => slot)).size, 4);

    const other = await Ledger.open(store, MAX);
    const taken: Slot[] = [];
    for (let i = 0; i < 4; i++) taken.push(await allocate(other));
    assert.ok(taken.some(({ slot }) => slot === second.slot));
    await other.spend(second).durable;
    await assert.rejects(ledger.spendNothing(), LedgerUnavailable);
    await ledger.reload();
    await assert.rejects(ledger.reserve(second), SlotClosed);
    assert.deepEqual(ledger.state(second), { state: 'live', used: 1 });
  });

  it('makes a slot live only for the registration that reserved it', async () => {
    const store = new CrashingStore();
    const ledger = await Ledger.open(store, MAX);
    const slot = await ledger.pick();
    await ledger.reserve(slot);
    store.cutAt = store.writes + 1;
    await assert.rejects(ledger.spendNothing(), LedgerUnavailable);
    store.restart();
    await ledger.reload();
    await assert.rejects(ledger.activate(slot), SlotClosed);
    await assert.rejects(ledger.lock(slot), SlotClosed);
  });

  it('keeps counters on a real token over a restart, and shares writes', async () => {
    const profile = freshToken();
    const open = async () => {
      const token = await Token.open(profile);
      const ledger = await Ledger.open(ledgerStore(token), 200);
      return { token, ledger };
    };
    const first = await open();
    const slot = await allocate(first.ledger);
    await Promise.all(Array.from({ length: 150 }, () => first.ledger.spend(slot).durable));
    const objects = await first.token.call('listData', 'bkv.ledger.');
    assert.ok(objects.length < 10, `150 attempts made ${objects.length} objects`);
    await first.ledger.close();
    await first.token.close();
    const second = await open();
    assert.deepEqual(second.ledger.state(slot), { state: 'live', used: 150 });
    await second.token.close();
  });

  it('a handle from before the module was initialized anew names nothing', async () => {
    const token = await Token.open(freshToken());
    const old = await token.call('replaceData', 'bkv.test', new Uint8Array(8), []);
    await token.refresh();
    await assert.rejects(token.call('destroyData', old), /found before the token was lost/);
    const [found] = await token.call('listData', 'bkv.test');
    await token.call('destroyData', found?.handle as string);
    assert.deepEqual(await token.call('listData', 'bkv.test'), []);
    await token.close();
  });

  it('objects may be listed on one session while another one replaces them', async () => {
    const token = await Token.open(freshToken());
    let busy = true;
    const listing = (async () => {
      while (busy) await token.call('listData', 'bkv.');
    })();
    let handle: string | undefined;
    for (let i = 0; i < 300; i++)
      handle = await token.call('replaceData', 'bkv.test', new Uint8Array(8), handle ? [handle] : []);
    busy = false;
    await listing;
    await token.close();
  });
});
