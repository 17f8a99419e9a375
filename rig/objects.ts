/**
 * Looks into the token of a daemon's data folder, and prints the labels of all objects as JSON. With a second argument it
 * does something else:
 * - `wipe` destroys all objects.
 * - `old-wrap` replaces `bkv.wrap` by a key as older versions made it, from which keys can be taken out.
 * - `oprf-keys` prints the OPRF keys of the database in hexadecimal. This works only after `old-wrap`.
 */
import { join } from 'node:path';
import pkcs11 from 'pkcs11js';
import { KEY_LABELS } from '../src/keeper/pkcs11/index.js';
import { readPin } from '../src/keeper/pkcs11/pin.js';
import type { Row } from '../src/keeper/records/index.js';
import { isOpenCryptoki, profileOf } from './token.js';

const CKM_AES_KEY_WRAP_KWP = 0x210b;
const [, , data, what] = process.argv as [string, string, string, string?];
process.env.SOFTHSM2_CONF = join(data, 'softhsm2.conf');
process.env.BKV_DATA = data;
delete process.env.BKV_TOKEN_PIN;
const profile = profileOf(data);
const p11 = new pkcs11.PKCS11();
p11.load(profile.module);
p11.C_Initialize();
const slot = p11
  .C_GetSlotList(true)
  .find(
    (candidate) => p11.C_GetTokenInfo(candidate).label.replace(/[\0 ]+$/, '') === profile.token.label,
  ) as Buffer;
const session = p11.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION);
p11.C_Login(session, pkcs11.CKU_USER, readPin(profile));

function find(template: pkcs11.Template): Buffer[] {
  p11.C_FindObjectsInit(session, template);
  const handles = p11.C_FindObjects(session, 100_000);
  p11.C_FindObjectsFinal(session);
  return handles;
}
const attribute = (handle: Buffer, type: number): Buffer =>
  p11.C_GetAttributeValue(session, handle, [{ type }])[0]?.value as Buffer;

if (what === 'old-wrap') {
  const { makeOld } = await import('./old-token.js');
  makeOld(profile, [KEY_LABELS.wrap]);
} else if (what === 'wipe') {
  for (const handle of find([{ type: pkcs11.CKA_TOKEN, value: true }])) p11.C_DestroyObject(session, handle);
} else if (what === 'oprf-keys') {
  const { nonceOf, openRow, rowKeyInput } = await import('../src/keeper/records/index.js');
  const { openSqlite } = await import('../src/keeper/records/sqlite.js');
  const keys = find([
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_TOKEN, value: true },
  ]);
  const keyNamed = (label: string) =>
    keys.find((handle) => attribute(handle, pkcs11.CKA_LABEL).toString() === label) as Buffer;
  const rows = openSqlite(join(data, 'records.sqlite'), { readonly: true })
    .prepare('SELECT * FROM records')
    .all() as Row[];
  for (const row of rows) {
    const pageKey = keyNamed(`bkv.page.0.${row.generation}`);
    p11.C_SignInit(session, { mechanism: pkcs11.CKM_SHA256_HMAC }, pageKey);
    const rowKey = p11.C_Sign(session, Buffer.from(rowKeyInput(row, nonceOf(row))), Buffer.alloc(32));
    const key = p11.C_UnwrapKey(
      session,
      { mechanism: isOpenCryptoki ? CKM_AES_KEY_WRAP_KWP : pkcs11.CKM_AES_KEY_WRAP_PAD },
      keyNamed('bkv.wrap'),
      Buffer.from(openRow(row, rowKey).wrappedKey),
      [
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
        { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_EC },
        { type: pkcs11.CKA_TOKEN, value: false },
        // openCryptoki has these values as defaults, but refuses them in a template.
        ...(isOpenCryptoki
          ? []
          : [
              { type: pkcs11.CKA_SENSITIVE, value: false },
              { type: pkcs11.CKA_EXTRACTABLE, value: true },
            ]),
      ],
    );
    process.stdout.write(`${attribute(key, pkcs11.CKA_VALUE).toString('hex').padStart(64, '0')}\n`);
  }
} else {
  const labels = find([{ type: pkcs11.CKA_TOKEN, value: true }]).map((handle) =>
    attribute(handle, pkcs11.CKA_LABEL).toString(),
  );
  process.stdout.write(JSON.stringify(labels));
}
process.exit();
