import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import pkcs11 from 'pkcs11js';
import { Daemon } from '../rig/daemon.js';
import { isOpenCryptoki, PIN } from '../rig/token.js';
import {
  hasToken,
  initializeToken,
  KEY_LABELS,
  type Profile,
  TokenError,
} from '../src/keeper/pkcs11/index.js';
import { pointOfAttribute } from '../src/keeper/pkcs11/point.js';
import { TokenPool } from '../src/keeper/pool/index.js';
import { Quirks } from './support/quirks.js';

const ELEMENT = Buffer.from('037cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978', 'hex');

/** Behaviour that was reported of PKCS#11 modules, imitated by support/quirks.c. */
describe('quirks of modules', function () {
  this.timeout(60_000);
  let quirks: Quirks;
  before(function () {
    if (isOpenCryptoki) return this.skip();
    quirks = new Quirks();
  });
  afterEach(() => {
    quirks?.set();
    quirks?.profile();
  });
  after(() => quirks?.discard());

  const evaluate = (token: TokenPool) => token.call('multiply', { label: KEY_LABELS.static }, ELEMENT);
  const withPool = async (profile: Profile, use: (token: TokenPool) => Promise<void>): Promise<void> => {
    const token = await TokenPool.open(profile);
    try {
      await use(token);
    } finally {
      quirks.set();
      await token.close();
    }
  };
  /** Waits until it holds. @throws after ten seconds */
  const until = async (what: string, holds: () => Promise<boolean> | boolean): Promise<void> => {
    for (let i = 0; i < 200; i++) {
      if (await holds()) return;
      await setTimeout(50);
    }
    throw new Error(`${what}: not within ten seconds`);
  };

  describe('in sessions', () => {
    it('handles that are valid on one thread only: one thread writes objects, all use page keys', async () => {
      const profile = quirks.here({ sessions: 3 });
      quirks.set('own-handles');
      await withPool(profile, async (token) => {
        let handle = await token.call('replaceData', 'bkv.one', Buffer.from('1'), []);
        for (let i = 2; i < 6; i++)
          handle = await token.call('replaceData', 'bkv.one', Buffer.from(String(i)), [handle]);
        const objects = await token.call('listData', 'bkv.one');
        assert.deepEqual(
          objects.map(({ value }) => Buffer.from(value).toString()),
          ['5'],
        );
        await token.generatePageKey('bkv.page.9.1');
        const macs = await Promise.all(
          Array.from({ length: 24 }, (_, i) => token.call('hmac', 'bkv.page.9.1', Buffer.from([i % 2]))),
        );
        assert.equal(new Set(macs.map((mac) => Buffer.from(mac).toString('hex'))).size, 2);
        assert.deepEqual(
          (await token.listPageKeys('bkv.page.9')).map(({ label }) => label),
          ['bkv.page.9.1'],
        );
        const made = await token.call('generateWrapped');
        await Promise.all(Array.from({ length: 24 }, () => token.call('multiply', made, ELEMENT)));
        await token.destroyPageKey('bkv.page.9.1');
        assert.deepEqual(await token.listPageKeys('bkv.page.9'), []);
      });
    });

    it('another writer is assumed only if a search shows that the writer object is gone', async () => {
      await withPool(quirks.here(), async (token) => {
        const value = Buffer.from('writer');
        const handle = await token.call('createData', 'bkv.w', value);
        const elsewhere = { handle: handle.replace(/[0-9a-f]{4}$/, 'ffff'), value };
        const reasonOf = (writer: typeof elsewhere) =>
          token.call('supersede', [], writer).then(
            () => 'none',
            (error: TokenError) => error.reason,
          );
        assert.equal(await reasonOf({ handle, value }), 'none');
        assert.equal(await reasonOf(elsewhere), 'BKV_STALE');
        await token.call('destroyData', handle);
        assert.equal(await reasonOf(elsewhere), 'BKV_FENCED');
      });
    });

    it('one session that fails at everything is replaced, and the token is not lost', async () => {
      await withPool(quirks.here(), async (token) => {
        quirks.set('fail C_DeriveKey 30 first');
        const results = await Promise.allSettled(Array.from({ length: 32 }, () => evaluate(token)));
        assert.ok(results.some(({ status }) => status === 'rejected'));
        await Promise.allSettled(Array.from({ length: 32 }, () => evaluate(token)));
        for (let i = 0; i < 40; i++) await evaluate(token);
        assert.equal(token.state, 'up');
      });
    });

    it('a session that fails at one function only is replaced at the third failure', async () => {
      await withPool(quirks.here(), async (token) => {
        quirks.set('fail C_GenerateKeyPair 30 first');
        const make = async () => {
          const made = await Promise.allSettled(
            Array.from({ length: 16 }, () => token.call('generateWrapped')),
          );
          return made.every(({ status }) => status === 'fulfilled');
        };
        await until('pairs are made', make);
        assert.equal(token.state, 'up');
      });
    });

    it('when every session fails, the module is reopened', async () => {
      await withPool(quirks.here(), async (token) => {
        let reopened = 0;
        token.onReopen(() => reopened++);
        // After a restart, devices fail like this until C_Finalize, although C_GetSessionInfo succeeds.
        quirks.set('fail C_DeriveKey 30 once');
        await until('it evaluates', () =>
          evaluate(token).then(
            () => reopened > 0,
            () => false,
          ),
        );
        assert.equal(reopened, 1);
        for (let i = 0; i < 20; i++) await evaluate(token);
      });
    });

    it('a token that does not evaluate is not considered to be back', async () => {
      await withPool(quirks.here(), async (token) => {
        quirks.set('fail C_DeriveKey 30');
        await until('it is away', async () => {
          await evaluate(token).catch(() => undefined);
          return token.state === 'away';
        });
        await setTimeout(2500);
        assert.equal(token.state, 'away');
        quirks.set();
        await until('it is back', () => token.state === 'up');
        await evaluate(token);
      });
    });

    it('no PIN is tried if the token says that it is locked or has one try left; for an expired one, the error says what to do', async () => {
      const profile = quirks.here();
      for (const [refusal, wanted] of [
        [['flags 40000', 'fail C_Login 5'], /locked: only the security officer/],
        [['flags 20000', 'fail C_Login 5'], /one try is left before it locks/],
        [['fail C_Login a4'], /locked: only the security officer/],
        [['fail C_Login a3'], /expired: change it/],
      ] as const) {
        quirks.set(...refusal);
        await assert.rejects(TokenPool.open(profile), { code: 'pin-refused', message: wanted });
      }
      // With CKF_USER_PIN_COUNT_LOW and CKF_USER_PIN_TO_BE_CHANGED, it still logs in.
      quirks.set('flags 90000');
      await withPool(profile, async (token) => void (await evaluate(token)));
    });

    it('a connection that is lost after imported keys were used is found again', async () => {
      await withPool(quirks.here(), async (token) => {
        const scalar = new Uint8Array(32).fill(1);
        const importKeys = () =>
          Promise.all(Array.from({ length: 32 }, () => token.call('multiply', { scalar }, ELEMENT)));
        await importKeys();
        quirks.set('drop b3');
        await until('it is lost', () => token.state === 'away');
        quirks.set();
        await until('it is back', () => token.state === 'up');
        await importKeys();
      });
    });

    it('calls on a thread that ends fail, whatever the pool does then, and those after them are done', async () => {
      const workers: Worker[] = [];
      const remember = (worker: Worker) => void workers.push(worker);
      process.on('worker', remember);
      await withPool(quirks.here(), async (token) => {
        process.off('worker', remember);
        quirks.set('slow C_DeriveKey 20', 'slow C_CreateObject 20');
        const write = (value: string) => token.call('replaceData', 'bkv.one', Buffer.from(value), []);
        const calls = [...Array.from({ length: 40 }, () => evaluate(token)), write('1'), write('2')];
        await setTimeout(30);
        await workers[0]?.terminate();
        const results = await Promise.allSettled(calls);
        assert.ok(results.some(({ status }) => status === 'rejected'));
        await until('it is back', () => token.state === 'up');
        // During a reopening, too.
        const refreshed = token.refresh();
        await workers.at(-1)?.terminate();
        await Promise.allSettled([refreshed, evaluate(token)]);
        await until('it is back', () => token.state === 'up');
        await evaluate(token);
        await write('3');
      });
    });

    it('a new token is made in the slot that the profile names, or nowhere', () => {
      const { token, ...profile } = quirks.here();
      const other = { ...profile, token: { label: `${token.label}-other` }, slot: 0 };
      assert.throws(
        () => initializeToken(other, '87654321'),
        (error) => error instanceof TokenError && error.reason === 'BKV_NO_SLOT',
      );
      assert.ok(!hasToken({ ...profile, token: other.token }));
    });

    it('if a token gives fewer sessions than were asked for, all of them but one are used', async () => {
      const profile = quirks.here({ sessions: 6 });
      quirks.set('sessions 4');
      await withPool(profile, async (token) => {
        await Promise.all(Array.from({ length: 30 }, () => evaluate(token)));
        quirks.set('sessions 5');
        await token.call('createData', 'bkv.x', Buffer.from('x'));
      });
    });
  });

  it('a pool of 16 sessions keeps a distant device busy', async () => {
    await withPool(quirks.here({ sessions: 16 }), async (token) => {
      quirks.set('slow C_DeriveKey 40', 'busy C_DeriveKey');
      await Promise.all(Array.from({ length: 320 }, () => evaluate(token)));
      const { most, average } = quirks.busy();
      assert.equal(most, 16);
      // All sessions call at the same time. A pool that used them in turns would make one call at a time.
      assert.ok(average > 10, `${average} calls at once`);
    });
  });

  describe('in objects and what they show', () => {
    /** Uses the token as another program does: makes foreign objects, or counts all objects. */
    const raw = (profile: Profile, use: (p11: pkcs11.PKCS11, session: pkcs11.Handle) => void) => {
      const p11 = new pkcs11.PKCS11();
      p11.load(profile.module);
      try {
        p11.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK });
      } catch {
        // The module is initialized already.
      }
      const slot = p11
        .C_GetSlotList(true)
        .find((one) => p11.C_GetTokenInfo(one).label.trim() === profile.token.label) as pkcs11.Handle;
      const session = p11.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION);
      p11.C_Login(session, pkcs11.CKU_USER, PIN);
      use(p11, session);
      p11.C_Finalize();
    };
    const count = (profile: Profile): number => {
      let objects = 0;
      raw(profile, (p11, session) => {
        p11.C_FindObjectsInit(session, []);
        objects = p11.C_FindObjects(session, 1000).length;
        p11.C_FindObjectsFinal(session);
      });
      return objects;
    };

    it('a public key that is raw, compressed or a BIT STRING is the same key', async () => {
      const profile = quirks.here();
      const keys = new Set<string>();
      for (const form of ['', 'point raw', 'point compressed', 'point bits']) {
        quirks.set(form);
        await withPool(profile, async (token) => {
          keys.add(Buffer.from(await token.call('publicKey', KEY_LABELS.static)).toString('hex'));
          const made = await token.call('generateWrapped');
          assert.equal(made.publicKey.length, 65);
          // An evaluation succeeds only with the right public key.
          await token.call('multiply', made, ELEMENT);
        });
      }
      assert.equal(keys.size, 1);
    });

    it('bytes that are no point are refused, and not cut to size', () => {
      for (const bytes of [
        [],
        [4],
        Array(65).fill(4),
        [4, 65, ...Array(65).fill(4)],
        [5, 0],
        Array(91).fill(2),
      ])
        assert.throws(() => pointOfAttribute(Uint8Array.from(bytes)), TokenError);
    });

    it("peers' points are passed raw, or in DER if the module wants that", async () => {
      const profile = quirks.here();
      const results = new Set<string>();
      for (const form of ['', 'peer der']) {
        quirks.set(form);
        await withPool(profile, async (token) => {
          results.add(Buffer.from(await evaluate(token)).toString('hex'));
        });
      }
      assert.equal(results.size, 1);
    });

    it("other programs' objects without a readable label or value are ignored", async () => {
      const profile = quirks.here();
      raw(profile, (p11, session) => {
        const object = [{ type: pkcs11.CKA_TOKEN, value: true }];
        p11.C_CreateObject(session, [
          ...object,
          { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA },
          { type: pkcs11.CKA_PRIVATE, value: true },
        ]);
        p11.C_GenerateKey(session, { mechanism: pkcs11.CKM_AES_KEY_GEN }, [
          ...object,
          { type: pkcs11.CKA_VALUE_LEN, value: 32 },
          { type: pkcs11.CKA_PRIVATE, value: true },
        ]);
      });
      quirks.set('foreign');
      await withPool(profile, async (token) => {
        await token.call('replaceData', 'bkv.one', Buffer.from('1'), []);
        assert.equal((await token.call('listData', 'bkv.one')).length, 1);
        assert.deepEqual(await token.listPageKeys('bkv.page.'), []);
        await evaluate(token);
      });
    });

    it('a search that gives its objects a few at a time finds them all', async () => {
      const profile = quirks.here();
      quirks.set('finds 3');
      await withPool(profile, async (token) => {
        for (let i = 0; i < 7; i++) await token.call('createData', 'bkv.few', Buffer.of(i));
        assert.equal((await token.call('listData', 'bkv.few')).length, 7);
      });
    });

    it('a session key that the token keeps as a token object is destroyed', async () => {
      const profile = quirks.here();
      const before = count(profile);
      quirks.set('keeps');
      await withPool(profile, async (token) => {
        await token.call('multiply', { scalar: new Uint8Array(32).fill(1) }, ELEMENT);
        quirks.set();
      });
      assert.equal(count(profile), before);
    });

    it('the module is initialized with exactly the arguments of the profile', async () => {
      const profile = quirks.here();
      await (await TokenPool.open(profile)).close();
      quirks.set('arguments configdir=/etc/nss');
      await assert.rejects(TokenPool.open(profile), /CKR_ARGUMENTS_BAD/);
      await withPool({ ...profile, initialize: 'configdir=/etc/nss' }, async (token) => {
        await evaluate(token);
      });
    });
  });

  describe('in a daemon', () => {
    const started: Daemon[] = [];
    before(() => {
      quirks.set('templates');
      quirks.init();
      const again = JSON.parse(quirks.bkv('token', 'init', '--json').stdout);
      assert.deepEqual(again, { token: 'quirks', tokenMade: false, keysMade: [], lacks: {} });
      assert.doesNotMatch(quirks.bkv('doctor', '--objects', '1').stdout, /^missing/m);
    });
    after(() => Promise.all(started.map((daemon) => daemon.stop('SIGKILL'))));
    const start = async (fields: object = {}, on = quirks) => {
      const config = `profile: ${on.profile(fields)}\n`;
      const daemon = await Daemon.start(on.data, { config, env: on.env });
      started.push(daemon);
      return daemon;
    };
    /** Runs each at the same time, on its own copy of module and token. */
    const apart = async (...works: ((own: Quirks) => Promise<void>)[]) => {
      const copies = works.map((work) => ({ work, own: new Quirks(quirks) }));
      try {
        await Promise.all(copies.map(({ work, own }) => work(own)));
      } finally {
        for (const { own } of copies) own.set();
        await Promise.all(started.map((daemon) => daemon.stop('SIGKILL')));
        for (const { own } of copies) own.discard();
      }
    };
    const use = async (fields: object, work: (daemon: Daemon) => Promise<void>) => {
      const daemon = await start(fields);
      try {
        await work(daemon);
      } finally {
        quirks.set();
        await daemon.stop();
      }
    };
    const exitCode = (daemon: Daemon) =>
      new Promise((resolve) => daemon.child.once('exit', (code, signal) => resolve(code ?? signal)));

    it('handles that are valid on one thread only: it registers, counts, recovers and sweeps', async () => {
      quirks.set('own-handles');
      await use({ sessions: 3 }, async (daemon) => {
        await daemon.register('alice', 'right');
        await daemon.register('bob', 'right');
        for (let i = 0; i < 3; i++) await (await daemon.startRecovery('alice', 'wrong')).abandon();
        assert.equal((await daemon.status('alice')).attemptsRemaining, 7);
        await Promise.all(
          ['alice', 'bob', 'alice', 'bob'].map(async (name) =>
            (await daemon.startRecovery(name, 'right')).prove(),
          ),
        );
        assert.equal((await daemon.status('alice')).attemptsRemaining, 10);
        await daemon.fetch('bob', 'DELETE', '/v1/account');
        assert.ok((await daemon.shred()).every(({ done }) => done));
        await (await daemon.startRecovery('alice', 'right')).prove();
        assert.doesNotMatch(daemon.logs, /HANDLE_INVALID|another vault/);
      });
    });

    it('small objects, as objectBytes of the profile says', async () => {
      quirks.set('object 700');
      await use({ objectBytes: 700 }, async (daemon) => {
        for (let i = 0; i < 40; i++) await daemon.register(`many-${i}`, 'right');
        await Promise.all(
          Array.from({ length: 40 }, async (_, i) =>
            (await daemon.startRecovery(`many-${i}`, 'wrong')).abandon(),
          ),
        );
        assert.equal((await daemon.status('many-7')).attemptsRemaining, 9);
      });
    });

    it('doctor tries two threads, and names what is missing and the line of the profile that would help', () => {
      quirks.set('own-handles');
      assert.match(
        quirks.bkv('doctor', '--objects', '1').stdout,
        /two threads: a handle is valid only in the session it came from/,
      );
      quirks.set('lacks 210a');
      const { stdout } = quirks.bkv('doctor', '--objects', '1');
      assert.match(stdout, /missing .*RFC 5649: .*"keyWrap: 0x…"; of the vendor's own it lists/);
      assert.match(stdout, /two threads: a handle is valid in both sessions/);
      quirks.set('fail C_DestroyObject 30');
      const failing = quirks.bkv('doctor', '--objects', '1').stdout;
      assert.match(failing, /^works .*module, token and login/m);
      assert.match(failing, /^missing .*throw-away keys and objects: some are left: CKR_DEVICE_ERROR/m);
      quirks.set('object 2000');
      assert.match(quirks.bkv('doctor', '--objects', '1').stdout, /say "objectBytes: 2048" in the profile/);
    });

    it('while no slot has a token, nobody is told to make one', () => {
      quirks.set('empty');
      const { status, stdout } = quirks.bkv('doctor');
      assert.equal(status, 1);
      assert.match(stdout, /shows no token in any slot: the device is away/);
      assert.doesNotMatch(stdout, /token init/);
    });

    it('connections that are lost under load, again and again: no answered attempt is lost', async () => {
      await use({ sessions: 4 }, async (daemon) => {
        const names = Array.from({ length: 8 }, (_, i) => `away-${i}`);
        for (const name of names) await daemon.register(name, 'right');
        const answered = new Map(names.map((name) => [name, 0]));
        const tries = 8;
        const guess = async (name: string) => {
          for (let i = 0; i < tries; i++) {
            await daemon.startRecovery(name, 'wrong').then(
              () => answered.set(name, (answered.get(name) as number) + 1),
              () => daemon.until(true).catch(() => undefined),
            );
          }
        };
        const guesses = names.map(guess);
        const breakDown = async () => {
          // CKR_DEVICE_REMOVED, CKR_DEVICE_ERROR, CKR_SESSION_HANDLE_INVALID
          for (const rv of ['32', '30', 'b3']) {
            await setTimeout(200);
            quirks.set(`drop ${rv}`, 'slow * 1');
            await setTimeout(300);
            quirks.set('slow * 1', 'fail C_OpenSession 32');
            await setTimeout(300);
            quirks.set('slow * 1');
            await daemon.until(true);
          }
        };
        await Promise.all([...guesses, breakDown()]);
        quirks.set();
        for (const name of names) {
          const { attemptsRemaining } = await daemon.status(name);
          const known = answered.get(name) as number;
          assert.ok(
            attemptsRemaining <= 10 - known && attemptsRemaining >= 10 - tries,
            `${name}: ${attemptsRemaining}, ${known}`,
          );
          await (await daemon.startRecovery(name, 'right')).prove();
        }
        assert.ok([...answered.values()].some((count) => count > 0 && count < tries));
        assert.match(daemon.logs, /token lost/);
        assert.doesNotMatch(daemon.logs, /somebody|another vault/);
      });
    });

    it('a call that hangs ends the keeper after callTimeout at the start', () =>
      apart(
        ...['C_OpenSession', 'C_Login'].map((name) => async (own: Quirks) => {
          own.set(`hang ${name}`);
          await assert.rejects(start({ callTimeout: 3 }, own), /the daemon ended with 137.*hangs/s, name);
        }),
      ));

    it('a call that hangs ends the keeper in service and at a reopening, and does not outlive SIGTERM', () =>
      apart(
        ...['C_DeriveKey', 'C_Finalize'].map((name) => async (own: Quirks) => {
          const daemon = await start({ callTimeout: 3 }, own);
          const ended = exitCode(daemon);
          own.set(`hang ${name}`, ...(name === 'C_Finalize' ? ['fail C_GetSessionInfo b3'] : []));
          void daemon.startRecovery('alice', 'right').catch(() => undefined);
          assert.equal(await ended, 137, name);
        }),
        async (own) => {
          const daemon = await start({}, own);
          const ended = exitCode(daemon);
          own.set('hang C_OpenSession', 'fail C_GetSessionInfo b3 once');
          await daemon.until(false);
          await setTimeout(1500);
          daemon.child.kill('SIGTERM');
          assert.equal(await ended, 137);
        },
      ));

    it('while evaluations fail and writes succeed, no attempt is lost, and /readyz says why', async () => {
      await use({}, async (daemon) => {
        await daemon.register('carol', 'right');
        const fails = () => assert.rejects(daemon.startRecovery('carol', 'right'), { status: 503 });
        for (const call of ['C_DeriveKey', 'C_UnwrapKey']) {
          quirks.set(`fail ${call} 6`);
          await fails();
          // It is not ready before the sessions have failed often enough to be replaced.
          await daemon.until(false);
          await Promise.all(Array.from({ length: 9 }, fails));
          const response = await fetch(new URL('/readyz', daemon.admin));
          assert.equal(response.status, 503);
          assert.match(await response.text(), /^the token (does not evaluate|is away)/m);
          quirks.set();
          await daemon.until(true);
          assert.equal((await daemon.status('carol')).attemptsRemaining, 10, call);
        }
        await (await daemon.startRecovery('carol', 'right')).prove();
      });
    });

    it('a device that fails while its sessions are well: /readyz reports it until it works again', async () => {
      await use({}, async (daemon) => {
        quirks.set('fail C_DeriveKey 30 once');
        await daemon.startRecovery('alice', 'right').catch(() => undefined);
        await daemon.until(true);
        assert.doesNotMatch(daemon.logs, /somebody/);
        await (await daemon.startRecovery('alice', 'right')).prove();
        assert.equal((await daemon.status('alice')).attemptsRemaining, 10);
      });
    });
  });
});
