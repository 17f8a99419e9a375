import { randomBytes } from 'node:crypto';
import { log } from '../log/index.js';
import { ledgerRefused } from '../metrics/index.js';
import { type DataObject, LEDGER_PREFIX, TokenError, type Writer } from '../pkcs11/index.js';
import { LedgerCorrupt, NewerLedger } from './errors.js';
import { isGenuine, JOURNAL_LABEL, PAGE_LABEL, VERSION, versionOf, WRITER_LABEL } from './formats/frame.js';
import { isV2 } from './formats/v2.js';
import { type Replayed, replay } from './replay.js';
import { isLiveWord } from './state.js';
import type { LedgerStore } from './store.js';
import { replayV2 } from './upgrade.js';

/** What a program finds when it takes over the ledger. */
export type TakenOver = Replayed & {
  readonly writer: Writer;
  /** whether its pages are to be written again, in this version */
  readonly upgrade: boolean;
};

/**
 * Becomes the ledger's writer and reads what the token holds. The previous writer is fenced off first, so
 * that nothing changes after it was read.
 * @param limit that a ledger of version 2 was used with @param known whether this version's ledger was here
 * before
 * @throws LedgerCorrupt; NewerLedger; TokenError when another program does the same at this time
 */
export async function takeOver(
  store: LedgerStore,
  before: Writer,
  { limit, known }: { limit: number; known: boolean },
): Promise<TakenOver> {
  const { writer, objects } = await fence(store, before);
  const { genuine, v2 } = await sort(store, objects);
  const found = replay(genuine);
  if (found) {
    refused('of another ledger', found.others.length);
    const superseded = [...found.superseded, ...v2.map(({ handle }) => handle)];
    return { ...found, superseded, writer, upgrade: false };
  }
  // Pages of this version without a journal: an upgrade was cut off. The older ledger is complete until an
  // upgrade has finished.
  const superseded = [...genuine, ...v2].map(({ handle }) => handle);
  const fresh = { ledger: randomBytes(16), segments: [], superseded, uncounted: [], others: [], writer };
  if (v2.length > 0) {
    if (known)
      throw new LedgerCorrupt(
        'the token holds a ledger of version 2 only, but there was a newer one: the token is an older one',
      );
    return { ...fresh, ...replayV2(v2, limit), upgrade: true };
  }
  if (genuine.length > 0) throw new LedgerCorrupt('the token holds pages but no journal');
  return { ...fresh, pages: [], sequence: 0n, term: 0, upgrade: false };
}

/**
 * What the token's ledger holds, read without taking it over, because its writer may be at work.
 * @throws LedgerCorrupt, also for a ledger of version 2 only: nothing authenticates it, so whoever has the PIN
 * could give back attempts by one
 */
export async function peek(store: LedgerStore): Promise<{ pages: number; live: number }> {
  const { genuine, v2 } = await sort(store, await store.listData(LEDGER_PREFIX));
  const found = replay(genuine);
  if (!found && v2.length > 0)
    throw new LedgerCorrupt(
      "the token holds a ledger of version 2 only, which no vault of this version has written: somebody replaced the retry counters. Bring the token's newest state back",
    );
  const pages = found?.pages ?? [];
  const live = pages.reduce((sum, { words }) => sum + words.filter(isLiveWord).length, 0);
  return { pages: pages.length, live };
}

async function fence(store: LedgerStore, before: Writer): Promise<{ writer: Writer; objects: DataObject[] }> {
  // This program writes its own object first, and only then looks for others. So if two programs do this at
  // once, at least one of them sees the other.
  const mine = randomBytes(16);
  await store.replaceData(WRITER_LABEL, mine, []);
  const isMine = ({ label, value }: DataObject) => label === WRITER_LABEL && mine.equals(value);
  await store.refresh();
  const others = (await store.listData(WRITER_LABEL)).filter((writer) => !isMine(writer));
  for (const { handle } of others) await store.destroyData(handle);
  // What another writer wrote until now counts.
  if (others.some(({ value }) => !Buffer.from(value).equals(before.value))) await store.refresh();
  const objects = await store.listData(LEDGER_PREFIX);
  const writer = objects.find(isMine);
  if (!writer) throw new TokenError('another program became the writer meanwhile', 'BKV_FENCED');
  return { writer, objects };
}

/**
 * Separates genuine objects from those that are skipped, so that an object which was put into the token
 * without its key changes nothing.
 * @throws NewerLedger
 */
async function sort(store: LedgerStore, objects: readonly DataObject[]) {
  const ledger = objects.filter(({ label }) => label === JOURNAL_LABEL || label.startsWith(PAGE_LABEL));
  const v2 = ledger.filter(({ value }) => isV2(value));
  const rest = ledger.filter((object) => !v2.includes(object));
  const verdicts = await Promise.all(
    rest.map(({ label, value }) => isGenuine((data) => store.mac(data), label, value)),
  );
  const genuine = rest.filter((_, i) => verdicts[i]);
  const newest = Math.max(VERSION, ...genuine.map(({ value }) => versionOf(value)));
  if (newest > VERSION) throw new NewerLedger(newest, VERSION);
  const strange = rest.filter((_, i) => !verdicts[i]);
  refused('not authentic', strange.length);
  if (strange.length > 0)
    log.error('objects of the ledger are not authentic: they were altered or put there by others', {
      labels: [...new Set(strange.map(({ label }) => label))].slice(0, 10),
      count: strange.length,
    });
  return { genuine, v2 };
}

const refused = (reason: string, count: number): void => ledgerRefused.set({ reason }, count);
