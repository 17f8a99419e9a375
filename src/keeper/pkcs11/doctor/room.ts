import { randomBytes } from 'node:crypto';
import type { TokenError } from '../errors.js';
import type { Session } from '../session.js';
import type { Findings } from './findings.js';
import { PREFIX } from './throw-away.js';

/**
 * Writes, reads and replaces data objects as the ledger does.
 * @param room `objects`: how many to try to hold at once; `accounts`: how many accounts one of them serves
 */
export function tryObjects(
  session: Session,
  room: { accounts: number; objects: number; objectBytes: number },
  findings: Findings,
): void {
  const { objectBytes } = room;
  const value = randomBytes(objectBytes);
  const bytes = objectBytes.toLocaleString('en');
  let writer = findings.attempt(`data object of ${bytes} bytes`, () => {
    const handle = session.createData(`${PREFIX}data`, value);
    const [found] = session.listData(`${PREFIX}data`);
    if (!found || !value.equals(found.value)) throw new Error('it does not read back as it was written');
    return handle;
  });
  if (!writer) {
    findings.add(
      'objectBytes',
      'note',
      'a token that takes smaller objects only can keep a vault: say "objectBytes: 2048" in the profile, or less, down to 512',
    );
    return;
  }
  findings.attempt(
    'write a counter (object written, the one before destroyed)',
    () => {
      const before = { handle: writer as string, value };
      writer = session.createData(`${PREFIX}data`, value);
      session.supersede([before.handle], before);
    },
    10,
  );
  findings.attempt('notice that another writer has come', () => {
    session.destroyData(writer as string);
    try {
      session.supersede([], { handle: writer as string, value });
    } catch (error) {
      if ((error as TokenError).reason === 'BKV_FENCED') return;
      throw error;
    }
    throw new Error('an object that was destroyed is still shown');
  });
  findings.add('room', 'note', holding(session, room));
}

/** How many data objects fit. */
function holding(
  session: Session,
  { accounts, objects, objectBytes }: { accounts: number; objects: number; objectBytes: number },
): string {
  // This holds unless many people guess. About eight objects are journal, writer and objects that are being
  // replaced.
  const counted = (held: number) => (Math.max(0, held - 8) * accounts).toLocaleString('en');
  const bytes = objectBytes.toLocaleString('en');
  let held = 0;
  try {
    while (held < objects) {
      session.createData(`${PREFIX}room`, randomBytes(objectBytes));
      held++;
    }
  } catch (error) {
    return `${held} objects of ${bytes} bytes fit, about ${counted(held)} accounts (then ${(error as Error).message})`;
  }
  return `at least ${held} objects of ${bytes} bytes fit, ${counted(held)} accounts`;
}
