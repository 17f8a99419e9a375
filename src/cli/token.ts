import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import type { Shredded } from '../vault/index.js';
import { UsageError } from './terminal.js';

/** Has a running vault destroy wrapping keys, and tells page by page. @throws UsageError */
export async function shred(
  { admin, all = false, abandonLost = false }: { admin: string; all?: boolean; abandonLost?: boolean },
  say: (text: string) => void,
): Promise<void> {
  const response = await fetch(new URL('/shred', `http://${admin}`), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ all, abandonLost }),
  }).catch(() => undefined);
  if (!response?.ok || !response.body)
    throw new UsageError(`no vault answers on ${admin}; name its admin address with --admin`);
  let pages = 0;
  let lost = 0;
  try {
    for await (const line of createInterface({ input: Readable.fromWeb(response.body as never) })) {
      const page = JSON.parse(line) as Shredded;
      pages++;
      if (page.done) say(`page ${page.page}: ${page.moved} records moved, the old key is destroyed`);
      else {
        lost += page.lost;
        say(
          `page ${page.page}: ${page.moved} records moved, the old key is kept for ${page.lost} that are lost`,
        );
      }
    }
  } catch {
    process.exitCode = 1;
    return say('the vault stopped half-way; nothing is lost, run it again');
  }
  if (pages === 0) say('no account has ended since the last time');
  if (lost === 0) return;
  process.exitCode = 1;
  say(`the database lacks ${lost} records; put them back, or give those accounts up with --abandon-lost`);
}
