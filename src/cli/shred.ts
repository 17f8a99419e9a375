import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import type { Shredded } from '../keeper/vault/index.js';
import { endAs, UsageError } from './errors.js';
import { report } from './report.js';
import { say } from './say.js';

interface ShredFlags {
  readonly admin: string;
  readonly all?: boolean;
  readonly abandonLost?: boolean;
  readonly json?: boolean;
}

/** Has a running vault destroy page keys, and reports page by page. @throws UsageError */
export async function shred({ json, ...flags }: ShredFlags): Promise<void> {
  const pages: Shredded[] = [];
  const tell = json ? () => undefined : say;
  let whole = true;
  try {
    for await (const page of shredded(flags)) {
      pages.push(page);
      tell(lineOf(page));
    }
  } catch (error) {
    if (error instanceof UsageError) throw error;
    whole = false;
  }
  const lost = pages.reduce((sum, page) => sum + (page.done ? 0 : page.lost), 0);
  if (!whole || lost > 0) endAs('failed');
  report(json, { whole, lost, pages }, () => [
    ...(whole ? [] : ['the vault stopped halfway. Nothing is lost: run the command again']),
    ...(whole && pages.length === 0 ? ['no account has ended since the last time'] : []),
    ...(whole && lost > 0
      ? [`the database lacks ${lost} records; put them back, or give those accounts up with --abandon-lost`]
      : []),
  ]);
}

/** The vault's report on each page, as it comes. @throws UsageError when no vault answers */
async function* shredded({ admin, all = false, abandonLost = false }: ShredFlags): AsyncGenerator<Shredded> {
  const response = await fetch(new URL('/shred', `http://${admin}`), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ all, abandonLost }),
  }).catch(() => undefined);
  if (!response?.ok || !response.body)
    throw new UsageError(`no vault answers on ${admin}; name its admin address with --admin`);
  for await (const line of createInterface({ input: Readable.fromWeb(response.body as never) }))
    yield JSON.parse(line) as Shredded;
}

const lineOf = (page: Shredded): string =>
  `page ${page.page}: ${page.moved} records moved, the old key is ${page.done ? 'destroyed' : `kept for ${page.lost} lost records`}`;
