import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Ledger, type LedgerStore, LedgerUnavailable, type Slot, SlotClosed } from '../src/ledger/index.js';
import { type DataObject, Token } from '../src/token/index.js';
import { ledgerStore } from '../src/vault/index.js';
import { freshToken } from './softhsm.js';

const MAX = 4;
const seed = Number(process.env.BKV_SEED ?? Date.now() % 2 ** 31);

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
  async createData(label: string, value: Uint8Array): Promise<string> {
    return this.#write(() => {
      const handle = String(this.#next++);
      this.objects.set(handle, { label, value: value.slice() });
      return handle;
    });
  }
  async destroyData(handle: string): Promise<void> {
    this.#write(() => assert.ok(this.objects.delete(handle), 'destroys an object that is not there'));
  }
  async listData(prefix: string): Promise<DataObject[]> {
    return [...this.objects]
      .filter(([, { label }]) => label.startsWith(prefix))
      .map(([handle, object]) => ({ handle, ...object }));
  }
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

describe(`ledger (BKV_SEED=${seed})`, () => {
  const command = fc.record({
    op: fc.constantFrom('allocate', 'spend', 'restore', 'lock', 'retire', 'reopen'),
    at: fc.nat(30),
  });

  it('does what a plain map of counters does, over restarts and folds', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 150 }), async (commands) => {
        const store = new CrashingStore();
        let ledger = await Ledger.open(store, MAX);
        const slots: Slot[] = [];
        const model: (number | 'locked' | 'dead')[] = [];
        for (const { op, at } of commands) {
          if (op === 'reopen') ledger = await Ledger.open(store, MAX);
          else if (op === 'allocate') {
            slots.push(await allocate(ledger));
            model.push(0);
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
          }
          slots.forEach((slot, i) => {
            const used = model[i] as number | 'locked' | 'dead';
            assert.deepEqual(
              ledger.state(slot),
              typeof used === 'number' ? { state: 'live', used } : { state: used },
            );
          });
        }
        assert.ok(store.objects.size < 40, 'the token fills up');
      }),
      { seed, numRuns: 100 },
    );
  });

  it('is cut before and after every single write, and gives no attempt back and loses no account', async () => {
    const script = async (ledger: Ledger, spent: Map<number, number>, slots: Slot[]) => {
      for (let i = 0; i < 3; i++) slots.push(await allocate(ledger));
      for (let i = 0; i < 120; i++) {
        const slot = slots[i % 3] as Slot;
        if (i % 4 === 3) {
          spent.set(slot.slot, 0);
          await ledger.restore(slot);
        }
        try {
          await ledger.spend(slot).durable;
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
          assert.equal(now.state, 'live', `cut ${after ? 'after' : 'before'} write ${cutAt}`);
          assert.ok(
            now.state === 'live' && now.used >= (spent.get(slot.slot) ?? 0),
            `cut at ${cutAt}: an attempt came back`,
          );
        }
        await allocate(ledger);
      }
    }
  });

  it('refuses a missing journal object and a missing page', async () => {
    const store = new CrashingStore();
    const ledger = await Ledger.open(store, MAX);
    const slot = await allocate(ledger);
    for (let i = 0; i < 3; i++) await ledger.spend(slot).durable;
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
});
