import assert from 'node:assert/strict';
import { appointCustodians, CustodyError, openCustody } from '../../src/keeper/custody/index.js';

const base64 = (length: number): string => Buffer.alloc(length, 7).toString('base64');

describe('a file of custodians', () => {
  it('has no two passphrases that are the same once they are prepared', async () => {
    for (const other of ['caf\u00e9 au lait', 'cafe\u0301 au lait', 'caf\u00e9\u3000au\u00a0lait'])
      await assert.rejects(appointCustodians(2, ['caf\u00e9 au lait', other]), {
        name: CustodyError.name,
        message: /same passphrase/,
      });
    await assert.rejects(appointCustodians(2, ['one', '']), { code: 'EmptyPassword' });
  });

  it('that is damaged is refused before anybody is asked for a passphrase', async () => {
    const share = { salt: base64(16), sealed: base64(49) };
    const refuses = async (change: object, message: RegExp) => {
      const file = { format: 'bkv custodians v1', threshold: 2, shares: [share, share], ...change };
      const asks = () => assert.fail('somebody was asked');
      await assert.rejects(openCustody(JSON.stringify(file), asks), { name: CustodyError.name, message });
    };
    for (const sealed of [base64(0), base64(15), base64(20), base64(48), base64(50)])
      await refuses({ shares: [share, { ...share, sealed }] }, /share 2 has the wrong length/);
    await refuses({ shares: [{ ...share, salt: base64(8) }, share] }, /share 1 has the wrong length/);
    await refuses({ threshold: 3 }, /it has 2 shares/);
    await refuses({ threshold: 1 }, /threshold/);
  });
});
