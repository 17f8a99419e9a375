import assert from 'node:assert/strict';
import { freshToken } from '../rig/token.js';
import { type Cell, Ledger, tokenStore } from '../src/keeper/ledger/index.js';
import { TokenPool } from '../src/keeper/pool/index.js';

async function allocate(ledger: Ledger): Promise<Cell> {
  const cell = await ledger.pick();
  await ledger.reserve(cell);
  await ledger.activate(cell);
  return cell;
}

/** unit/ledger.test.ts tests the ledger in memory; this runs it on a real token. */
describe('ledger on a token', () => {
  it('keeps counters on a real token over a restart, and shares writes', async () => {
    const profile = freshToken();
    const open = async () => {
      const token = await TokenPool.open(profile);
      const ledger = await Ledger.open(tokenStore(token), { limit: 200 });
      return { token, ledger };
    };
    const first = await open();
    const cell = await allocate(first.ledger);
    await Promise.all(Array.from({ length: 150 }, () => first.ledger.spend([cell]).durable));
    const objects = await first.token.call('listData', 'bkv.ledger.');
    assert.ok(objects.length < 10, `150 attempts made ${objects.length} objects`);
    await first.ledger.close();
    await first.token.close();
    const second = await open();
    assert.deepEqual(second.ledger.state(cell), {
      state: 'live',
      used: 150,
      limit: 200,
      proven: false,
      open: 0,
    });
    await second.token.close();
  });

  it('a handle from before C_Initialize was called again is refused', async () => {
    const token = await TokenPool.open(freshToken());
    const old = await token.call('replaceData', 'bkv.test', new Uint8Array(8), []);
    await token.refresh();
    await assert.rejects(token.call('destroyData', old), /found before the token was lost/);
    const [found] = await token.call('listData', 'bkv.test');
    await token.call('destroyData', found?.handle as string);
    assert.deepEqual(await token.call('listData', 'bkv.test'), []);
    await token.close();
  });

  it('objects can be listed in one session while another one replaces them', async () => {
    const token = await TokenPool.open(freshToken());
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
