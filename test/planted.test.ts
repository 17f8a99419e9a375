import assert from 'node:assert/strict';
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pkcs11 from 'pkcs11js';
import { objectsNamed } from '../rig/old-token.js';
import { freshToken, isOpenCryptoki } from '../rig/token.js';
import { type Cell, Ledger, tokenStore } from '../src/keeper/ledger/index.js';
import { renderMetrics } from '../src/keeper/metrics/index.js';
import { Binding } from '../src/keeper/pkcs11/binding.js';
import { KEY_LABELS, type Profile } from '../src/keeper/pkcs11/index.js';
import { inspect } from '../src/keeper/pkcs11/inspection.js';
import { TokenPool } from '../src/keeper/pool/index.js';

const JOURNAL = 'bkv.ledger.journal';
const PAGE = 'bkv.ledger.page.0';
const USED = 3;

/** Attacks of somebody without the token's PIN, through the module and in SoftHSM2's folder. */
(isOpenCryptoki ? describe.skip : describe)('objects that are put into a token without its PIN', () => {
  let profile: Profile;
  let cell: Cell;
  /** the file of the page's object from before any guess, older than the one in use */
  let older: Buffer;

  const withLedger = async <T>(use: (ledger: Ledger, token: TokenPool) => Promise<T> | T): Promise<T> => {
    const token = await TokenPool.open(profile);
    try {
      const ledger = await Ledger.open(tokenStore(token), { limit: 10 });
      return await use(ledger, token);
    } finally {
      await token.close();
    }
  };
  const used = () =>
    withLedger((ledger) => {
      const now = ledger.state(cell);
      return now.state === 'live' && now.used;
    });
  const refused = (reason: string): number =>
    Number(
      new RegExp(`^bkv_ledger_refused_objects\\{reason="${reason}"\\} (\\d+)$`, 'm').exec(
        renderMetrics(),
      )?.[1],
    );

  const folder = (): string => {
    const tokens = join(process.env.BKV_DATA as string, 'tokens');
    const of = readdirSync(tokens).find((one) =>
      readFileSync(join(tokens, one, 'token.object')).includes(profile.token.label as string),
    );
    return join(tokens, of as string);
  };
  const named = (label: string): number => {
    const binding = new Binding(profile);
    try {
      return objectsNamed(binding, label).length;
    } finally {
      binding.p11.C_Finalize();
    }
  };
  /** Finds the file of the only object with a label, by moving each file away in turn. */
  const fileOf = (label: string): string => {
    assert.equal(named(label), 1);
    const files = readdirSync(folder()).filter((one) => one.endsWith('.object') && one !== 'token.object');
    const path = files
      .map((file) => join(folder(), file))
      .find((file) => {
        renameSync(file, `${file}.away`);
        const gone = named(label) === 0;
        renameSync(`${file}.away`, file);
        return gone;
      });
    return path as string;
  };
  /** Adds an object file with this content to the token. */
  const plantFile = (content: Buffer) => {
    const name = `${folder()}/01234567-89ab-cdef-0123-456789abcdef`;
    writeFileSync(`${name}.object`, content);
    writeFileSync(`${name}.lock`, '');
  };
  /** Creates public objects in a session without login. */
  const plant = (...templates: pkcs11.Template[]) => {
    const p11 = new pkcs11.PKCS11();
    p11.load(profile.module);
    p11.C_Initialize();
    try {
      const slot = p11
        .C_GetSlotList(true)
        .find((one) => p11.C_GetTokenInfo(one).label.trim() === profile.token.label) as pkcs11.Handle;
      const session = p11.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION);
      for (const template of templates)
        p11.C_CreateObject(session, [
          { type: pkcs11.CKA_TOKEN, value: true },
          { type: pkcs11.CKA_PRIVATE, value: false },
          ...template,
        ]);
    } finally {
      p11.C_Finalize();
    }
  };

  beforeEach(async () => {
    profile = { ...freshToken(), sessions: 1 };
    cell = await withLedger(async (ledger) => {
      const picked = await ledger.pick();
      await ledger.reserve(picked);
      await ledger.activate(picked);
      return picked;
    });
    older = readFileSync(fileOf(PAGE));
    await withLedger(async (ledger) => {
      const rotation = await ledger.beginRotation(0);
      const moved = { ...cell, generation: rotation.to };
      for (let i = 0; i < USED; i++) {
        const attempt = ledger.spend([moved]);
        await attempt.durable;
        await ledger.fail(attempt);
      }
      await ledger.finishRotation(rotation);
      cell = moved;
    });
  });

  it('a public journal and a public ledger key are ignored, and the journal is counted (A3)', async () => {
    const [journal] = await withLedger((_, token) => token.call('listData', JOURNAL));
    plant(
      [
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA },
        { type: pkcs11.CKA_APPLICATION, value: 'bkv' },
        { type: pkcs11.CKA_LABEL, value: JOURNAL },
        { type: pkcs11.CKA_VALUE, value: Buffer.from(journal?.value as Uint8Array) },
      ],
      [
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
        { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
        { type: pkcs11.CKA_LABEL, value: KEY_LABELS.ledger },
        { type: pkcs11.CKA_SIGN, value: true },
        { type: pkcs11.CKA_VALUE, value: Buffer.alloc(32, 7) },
      ],
    );
    const binding = new Binding(profile);
    assert.deepEqual([...inspect(binding, false).strange].sort(), [KEY_LABELS.ledger, JOURNAL]);
    binding.p11.C_Finalize();
    assert.equal(await used(), USED);
    assert.equal(refused('not private'), 1);
    assert.equal(named(JOURNAL), 2, 'it is not even looked at');
  });

  /** Finds an attribute's value in an object file, which is a counter, then type, kind, length and value of each attribute. */
  const attributeIn = (file: Buffer, type: number): { at: number; length: number } => {
    const u64 = (at: number) => Number(file.readBigUInt64BE(at));
    for (let at = 8; at < file.length; ) {
      const kind = u64(at + 8);
      const length = kind === 3 ? u64(at + 16) : kind === 1 ? 1 : 8;
      const start = at + (kind === 3 ? 24 : 16);
      if (u64(at) === type) return { at: start, length };
      at = start + length;
    }
    throw new Error(`no attribute ${type}`);
  };

  it('an altered byte of a page’s file: the ledger is refused', async () => {
    const path = fileOf(PAGE);
    const file = readFileSync(path);
    const value = attributeIn(file, pkcs11.CKA_VALUE);
    const label = attributeIn(file, pkcs11.CKA_LABEL);
    for (const [at, isSeen] of [
      [value.at + 3, 1],
      [value.at + value.length / 2, 1],
      [label.at + 1, 0],
    ] as const) {
      const altered = Buffer.from(file);
      altered[at] = (altered[at] as number) ^ 0x01;
      writeFileSync(path, altered);
      await assert.rejects(used(), /holds none of the 1 page objects/);
      assert.equal(refused('not authentic'), isSeen);
    }
    writeFileSync(path, file);
    assert.equal(await used(), USED);
  });

  it('an older page in the place of the newer one is refused; beside the newer one, it is ignored', async () => {
    plantFile(older);
    assert.equal(named(PAGE), 2);
    assert.equal(await used(), USED);
    writeFileSync(fileOf(PAGE), older);
    await assert.rejects(used(), /an older one stands in the place of one/);
  });

  it('a second copy of a page changes nothing, and is destroyed', async () => {
    plantFile(readFileSync(fileOf(PAGE)));
    assert.equal(named(PAGE), 2);
    assert.equal(await used(), USED);
    assert.equal(named(PAGE), 1);
  });
});
