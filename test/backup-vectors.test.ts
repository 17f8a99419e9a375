import assert from 'node:assert/strict';
import { createCipheriv, createHash, createHmac, hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { webCipher } from '../src/backup/cipher.js';
import { Epoch } from '../src/backup/epoch.js';
import { type Opener, openAbout, parseWrap, unwrap } from '../src/backup/openers.js';

const vectors = JSON.parse(readFileSync('test/vectors/backup-2.json', 'utf8'));
const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex');
const hex = (content: Uint8Array): string => Buffer.from(content).toString('hex');

describe('test vectors of the backup format', () => {
  const { masterKey, epoch: id, part, object, opener } = vectors;
  const epoch = new Epoch(id, bytes(masterKey), 1);

  it('keys, names and parts, computed by other code, are what docs/formats/backup.md says', () => {
    const derived = (info: string) => Buffer.from(hkdfSync('sha256', bytes(masterKey), '', info, 32));
    const [nameKey, partKey] = [derived('bkv 2 part name'), derived('bkv 2 part key')];
    assert.deepEqual([hex(nameKey), hex(partKey)], [vectors.nameKey, vectors.partKey]);
    assert.equal(hex(derived('bkv 2 successor')), vectors.successor);
    const digest = createHash('sha256').update(bytes(part.plaintext)).digest();
    const nameOf = (variant: number) =>
      createHmac('sha256', nameKey).update(digest).update(Buffer.of(variant)).digest('hex');
    assert.deepEqual([nameOf(0), nameOf(1)], [part.name, part.variant1]);
    const key = createHmac('sha256', partKey).update(bytes(part.name)).digest();
    const cipher = createCipheriv('aes-256-gcm', key, Buffer.alloc(12)).setAAD(Buffer.from('bkv part v2'));
    const sealed = [cipher.update(bytes(part.plaintext)), cipher.final(), cipher.getAuthTag()];
    assert.equal(hex(Buffer.concat(sealed)), part.sealed);
  });

  it('the program makes the same ones, and opens them', async () => {
    assert.equal(epoch.partName(await webCipher.digest(bytes(part.plaintext)), 0), part.name);
    const opened = await webCipher.open(epoch.partKey(part.name), epoch.about, bytes(part.sealed));
    assert.equal(hex(opened as Uint8Array), part.plaintext);
    assert.equal(
      Buffer.from(await epoch.open(object.name, bytes(object.sealed))).toString(),
      object.plaintext,
    );
    await assert.rejects(epoch.open(object.name.replace('claims', 'marks'), bytes(object.sealed)), /damaged/);
  });

  it('a wrap opens with its opener and voucher, and with nothing else', async () => {
    const key: Opener = { kind: 'key', secret: bytes(opener.secret) };
    const other: Opener = { kind: 'key', secret: bytes(masterKey) };
    const content = (wrap: { content: object }) => Buffer.from(JSON.stringify(wrap.content));
    const self = parseWrap(opener.self.name, content(opener.self));
    assert.equal(hex((await unwrap(self, key, key)) as Uint8Array), masterKey);
    const info = await openAbout(self, epoch);
    assert.deepEqual([hex(info.publicKey), info.label], [opener.publicKey, opener.label]);
    const next = parseWrap(opener.byOlder.name, content(opener.byOlder));
    assert.equal(hex((await unwrap(next, key, epoch)) as Uint8Array), opener.byOlder.masterKey);
    for (const [wrap, by, voucher] of [
      [self, other, other],
      [self, key, epoch],
      [next, key, key],
      [next, other, epoch],
      [{ ...self, name: next.name }, key, key],
      [{ ...self, kind: 'passkey' }, key, key],
    ] as const)
      assert.equal(await unwrap(wrap, by, voucher), undefined);
  });
});
