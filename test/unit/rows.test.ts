import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  BadRow,
  type Content,
  nonceOf,
  openRow,
  type Place,
  type Row,
  rowKeyInput,
  sealRow,
} from '../../src/keeper/records/index.js';

interface Golden extends Record<string, unknown> {
  readonly pageKey: string;
  readonly place: Place;
  readonly content: Record<keyof Content, string | boolean>;
  readonly nonce: string;
  readonly sealed: string;
}

const hex = (text: unknown): Buffer => Buffer.from(text as string, 'hex');
const golden = JSON.parse(readFileSync('test/golden/records/rows-2.json', 'utf8')) as Golden[];
const keyOf = (pageKey: string, place: Place, nonce: Uint8Array): Buffer =>
  createHmac('sha256', hex(pageKey)).update(rowKeyInput(place, nonce)).digest();
const contentOf = ({ dealing, named, ...bytes }: Golden['content']): Content => ({
  dealing: dealing as string,
  named: named as boolean,
  wrappedKey: Uint8Array.from(hex(bytes.wrappedKey)),
  publicKey: Uint8Array.from(hex(bytes.publicKey)),
  registrationRecord: Uint8Array.from(hex(bytes.registrationRecord)),
  encryptedBackupKey: Uint8Array.from(hex(bytes.encryptedBackupKey)),
});

describe('rows of the database', () => {
  const rows = golden.map((one) => ({ ...one, row: { ...one.place, sealed: hex(one.sealed) } as Row }));
  /** Opens a row as the vault does, with the key of the place where the row was found. */
  const open = (pageKey: string, row: Row) => openRow(row, keyOf(pageKey, row, nonceOf(row)));

  for (const { pageKey, place, content, nonce, row } of rows) {
    const kind = content.dealing ? 'of a dealt share' : "of the vault's own key";
    it(`version 2, ${kind}: is written byte for byte, and read`, () => {
      const made = sealRow(place, contentOf(content), hex(nonce), keyOf(pageKey, place, hex(nonce)));
      assert.deepEqual(made, { ...place, sealed: Buffer.from(row.sealed) });
      assert.deepEqual(open(pageKey, row), { ...place, ...contentOf(content) });
    });

    it(`version 2, ${kind}: opens at no other account, cell or generation, and under no other page key`, () => {
      const other = rows.find((one) => one.row !== row) as (typeof rows)[0];
      for (const moved of [
        { account: other.place.account },
        { cell: place.cell + 1 },
        { generation: place.generation + 1 },
        { sealed: other.row.sealed },
      ])
        assert.throws(() => open(pageKey, { ...row, ...moved }), BadRow);
      assert.throws(() => open('00'.repeat(32), row), BadRow);
    });

    it(`version 2, ${kind}: does not open with any bit changed, cut off or added`, () => {
      for (let bit = 0; bit < row.sealed.length * 8; bit++) {
        const sealed = Buffer.from(row.sealed);
        sealed[bit >> 3] = (sealed[bit >> 3] as number) ^ (1 << (bit & 7));
        assert.throws(() => open(pageKey, { ...row, sealed }), BadRow, `bit ${bit}`);
      }
      for (let length = 0; length < row.sealed.length; length++)
        assert.throws(() => open(pageKey, { ...row, sealed: row.sealed.subarray(0, length) }), BadRow);
      const longer = Buffer.concat([row.sealed, Buffer.alloc(1)]);
      assert.throws(() => open(pageKey, { ...row, sealed: longer }), BadRow);
    });
  }
});
