import { randomBytes } from 'node:crypto';
import { JOURNAL_LABEL, PAGE_LABEL, seal, tagOf } from '../src/keeper/ledger/formats/frame.js';
import { encodeJournal, encodePage } from '../src/keeper/ledger/formats/v3.js';
import { type LedgerStore, PAGE_CELLS } from '../src/keeper/ledger/index.js';
import { digestOf } from '../src/keeper/ledger/replay.js';
import { keyLabel, newGeneration } from '../src/keeper/ledger/rotation.js';
import { toWord } from '../src/keeper/ledger/state.js';
import { Records } from '../src/keeper/records/index.js';
import { openSqlite } from '../src/keeper/records/sqlite.js';

const OBJECT_BYTES = 4096;
const fresh = toWord({ state: 'live', limit: 200, used: 0, proven: true });
const wrongOnce = toWord({ state: 'live', limit: 200, used: 1, proven: true });
/** One account in this many has one failed attempt. */
const WRONG_ONCE = 100;

/**
 * Writes a ledger of many accounts straight into a token, because to register ten million would take hours.
 * @returns the generation of each page's key
 */
export async function plant(store: LedgerStore, accounts: number): Promise<number[]> {
  const generations: number[] = [];
  const head = { ledger: randomBytes(16), term: 1 };
  const mac = (data: Uint8Array) => store.mac(data);
  const tags: { tag: Uint8Array }[] = [];
  for (let page = 0, first = 0; first < accounts; page++, first += PAGE_CELLS) {
    const generation = newGeneration();
    await store.generatePageKey(keyLabel(page, generation));
    generations.push(generation);
    const words = new Uint32Array(PAGE_CELLS);
    const used = Math.min(PAGE_CELLS, accounts - first);
    for (let i = 0; i < used; i++) words[i] = i % WRONG_ONCE === 0 ? wrongOnce : fresh;
    const content = { ...head, sequence: 1n, page, generation, next: 0, first, words };
    for (const { body } of encodePage(content, OBJECT_BYTES)) {
      const value = await seal(mac, PAGE_LABEL + page, body);
      await store.replaceData(PAGE_LABEL + page, value, []);
      tags.push({ tag: tagOf(value) });
    }
  }
  const journal = encodeJournal({
    ...head,
    first: 2n,
    last: 2n,
    folded: 1n,
    objects: tags.length,
    digest: digestOf(tags),
    changes: new Map(),
  });
  await store.replaceData(JOURNAL_LABEL, await seal(mac, JOURNAL_LABEL, journal), []);
  return generations;
}

/** Bytes of a row's `sealed`, as those of real accounts. */
const SEALED_BYTES = 480;

/** Writes a row of each account of {@link plant} into an SQLite database. They open with no key. */
export async function plantRows(
  path: string,
  accounts: number,
  generations: readonly number[],
): Promise<void> {
  const records = await Records.open(path);
  await records.prepare();
  await records.close();
  const database = openSqlite(path);
  database.exec('PRAGMA synchronous = OFF');
  const insert = database.prepare(
    `WITH RECURSIVE c(n) AS (VALUES(@first) UNION ALL SELECT n + 1 FROM c WHERE n < @last)
     INSERT INTO records (account, cell, generation, sealed)
     SELECT printf('%064x', n), n, @generation, zeroblob(${SEALED_BYTES}) FROM c`,
  );
  for (const [page, generation] of generations.entries()) {
    const first = page * PAGE_CELLS;
    insert.run({ first, last: Math.min(accounts, first + PAGE_CELLS) - 1, generation });
  }
  database.close();
}
