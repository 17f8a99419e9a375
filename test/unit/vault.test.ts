import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { p256 } from '@noble/curves/nist.js';
import { randomStream, seed } from '../../rig/random.js';
import { readLogin } from '../../src/keeper/elements/index.js';
import { auditTo } from '../../src/keeper/log/index.js';
import { renderMetrics } from '../../src/keeper/metrics/index.js';
import { KEY_LABELS } from '../../src/keeper/pkcs11/index.js';
import { DatabaseError, Records } from '../../src/keeper/records/index.js';
import type { AccountId } from '../../src/keeper/vault/index.js';
import { Vault, type VaultOptions } from '../../src/keeper/vault/index.js';
import type { Recovered } from '../../src/keeper/vault/recovery.js';
import {
  CodedError,
  codeOf,
  createRegistrationRequest,
  deriveKeyPair,
  diffieHellman,
  EnvelopeRecoveryError,
  type ErrorCode,
  evaluate,
  finalizeRegistration,
  finishMac,
  generateKE1,
  generateKE3,
  identities,
  registrationKeys,
  startMac,
  xOf,
} from '../../src/protocol/index.js';
import { shareFinish } from '../support/fleet.js';
import { MemoryToken } from '../support/memory-token.js';

const MAX = 3;
const stream = randomStream(`vault ${seed}`);
const random = (length: number): Uint8Array => Uint8Array.from(stream(length));
const id = (subject: string): AccountId => ({
  issuer: 'https://issuer.example',
  subject,
  requestId: `of ${subject}`,
});
const stretch = async (output: Uint8Array) => output.slice();
const bytes = (text: string) => Buffer.from(text);
const code = (wanted: ErrorCode) => (error: unknown) => error instanceof CodedError && error.code === wanted;

/** A promise that the test settles. */
function latch() {
  let settle: { resolve: () => void; reject: (error: Error) => void } | undefined;
  const promise = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject };
  });
  if (!settle) throw new Error('no executor ran');
  return { promise, ...settle };
}

/** A client of a vault in this process. It exchanges the messages of docs/protocol.md without HTTP. */
class Person {
  constructor(
    readonly vault: Vault,
    readonly subject: string,
  ) {}

  get id(): AccountId {
    return id(this.subject);
  }

  get #names() {
    return identities(this.subject, this.vault.serverPublicKey);
  }

  async begin(password: string) {
    const { serverPublicKey } = this.vault;
    const { blind, registrationRequest } = createRegistrationRequest(bytes(password));
    const share = deriveKeyPair(random(32));
    const keys = registrationKeys(xOf(diffieHellman(share.secretKey, serverPublicKey)));
    const { publicKey: keyshare } = share;
    const started = await this.vault.startRegistration(this.id, { registrationRequest, keyshare });
    const evaluatedElement = started.registrationResponse.subarray(0, 33);
    const mac = startMac(keys.start, {
      serverPublicKey,
      keyshare,
      account: this.subject,
      registrationId: Buffer.from(started.registrationId, 'base64url'),
      blindedElement: registrationRequest,
      evaluatedElement,
      transportKey: new Uint8Array(0),
      limit: started.limit,
    });
    assert.deepEqual(started.mac, mac);
    const { registrationRecord } = await finalizeRegistration(
      bytes(password),
      blind,
      started.registrationResponse,
      stretch,
      this.#names,
    );
    return (encryptedBackupKey: Uint8Array, replace = false) => ({
      registrationId: started.registrationId,
      registrationRecord,
      encryptedBackupKey,
      replace,
      mac: finishMac(keys.finish, mac, { registrationRecord, encryptedBackupKey, replace }),
    });
  }

  async register(password: string, replace = false): Promise<Uint8Array> {
    const sealed = random(60);
    const message = await this.begin(password);
    await this.vault.finishRegistration(this.id, message(sealed, replace));
    return sealed;
  }

  /** Registers a dealing whose only share is the whole key. */
  async deal(password: string, dealing: string) {
    const { finish, encryptedBackupKey } = await this.beginShare(password, dealing);
    await finish();
    return encryptedBackupKey;
  }

  /** @returns a function that finishes the registration, with the same message on every call */
  async beginShare(password: string, dealing: string) {
    const share = deriveKeyPair(random(32));
    const { blind, registrationRequest } = createRegistrationRequest(bytes(password));
    const response = Buffer.concat([
      evaluate(share.secretKey, registrationRequest),
      this.vault.serverPublicKey,
    ]);
    const { registrationRecord } = await finalizeRegistration(
      bytes(password),
      blind,
      response,
      stretch,
      this.#names,
    );
    const encryptedBackupKey = random(60);
    const { secretKey, publicKey: keyshare } = deriveKeyPair(random(32));
    const started = await this.vault.startShare(this.id, { dealing, index: 1, keyshare });
    const { secretKey: scalar } = share;
    const message = {
      registrationId: started.registrationId,
      ...shareFinish(secretKey, this.vault.serverPublicKey, started, {
        scalar,
        registrationRecord,
        encryptedBackupKey,
      }),
    };
    return { encryptedBackupKey, finish: () => this.vault.finishShare(this.id, message) };
  }

  start(password: string, dealing?: string) {
    const login = generateKE1(bytes(password));
    const started = this.vault.startRecovery(this.id, readLogin(login.KE1), dealing);
    return started.then((answer) => ({ ...answer, login }));
  }

  /** @returns a function that finishes the recovery, with the same message on every call */
  async prove(password: string, dealing?: string): Promise<() => Promise<Recovered>> {
    const { login, KE2, recoveryId } = await this.start(password, dealing);
    const { KE3 } = await generateKE3(login, KE2, stretch, this.#names);
    return () => this.vault.finishRecovery(this.id, recoveryId, KE3.slice());
  }

  /** @returns the sealed key, or undefined for a wrong password, which costs the attempt */
  async guess(password: string, dealing?: string): Promise<Uint8Array | undefined> {
    const { login, KE2, recoveryId } = await this.start(password, dealing);
    try {
      const { KE3 } = await generateKE3(login, KE2, stretch, this.#names);
      const { encryptedBackupKey } = await this.vault.finishRecovery(this.id, recoveryId, KE3);
      return encryptedBackupKey;
    } catch (error) {
      if (!(error instanceof EnvelopeRecoveryError)) throw error;
      await this.vault.abandonRecovery(this.id, recoveryId);
      return undefined;
    }
  }

  async left(): Promise<number | string> {
    const status = await this.vault.status(this.id);
    return status.state === 'registered' ? status.attemptsRemaining : status.state;
  }
}

describe('a vault in memory', () => {
  let token: MemoryToken;
  let records: Records;
  let vault: Vault;
  const open = async (options: Partial<VaultOptions> = {}) => {
    vault = await Vault.open(token, records, { maxAttempts: MAX, exchangeLifetime: 60_000, ...options });
  };
  const person = (subject: string) => new Person(vault, subject);
  beforeEach(async () => {
    token = new MemoryToken();
    records = await Records.open(':memory:');
    await records.prepare();
    await open();
  });
  afterEach(async () => {
    await vault.close();
    await records.close();
  });

  it('gives the key only for the right password, and counts wrong ones', async () => {
    const alice = person('alice');
    const sealed = await alice.register('right');
    assert.equal(await alice.guess('wrong'), undefined);
    assert.equal(await alice.left(), MAX - 1);
    assert.deepEqual(await alice.guess('right'), sealed);
    assert.equal(await alice.left(), MAX);
    assert.equal(await person('bob').left(), 'unregistered');
  });

  it('locks after the last wrong password, for the right one too, also when reopened', async () => {
    const alice = person('alice');
    await alice.register('right');
    for (let i = 0; i < MAX; i++) assert.equal(await alice.guess('wrong'), undefined);
    await assert.rejects(alice.guess('right'), code('locked'));
    assert.equal(await alice.left(), 'locked');
    await vault.close();
    await open();
    await assert.rejects(person('alice').guess('right'), code('locked'));
  });

  it('names the request in each audit line of an account', async () => {
    const told: [string, unknown][] = [];
    const end = auditTo((event, { requestId }) => told.push([event, requestId]));
    const alice = person('alice');
    await alice.register('right');
    await alice.guess('right');
    const [row] = await records.find(vault.nameOf(alice.id));
    if (!row) throw new Error('no row');
    const sealed = Uint8Array.from(row.sealed);
    await records.put({ ...row, sealed: sealed.fill(0, -1) });
    assert.equal(await alice.left(), 'unregistered');
    await records.put(row);
    for (let i = 0; i < MAX; i++) await alice.guess('wrong');
    await setImmediate();
    await vault.delete(alice.id);
    end();
    const events = ['registered', 'recovered', 'record refused', ...Array(MAX).fill('attempt failed')];
    assert.deepEqual(
      told,
      [...events, 'locked', 'deleted'].map((event) => [event, 'of alice']),
    );
  });

  it('keeps an attempt spent if the vault ends between the two messages', async () => {
    await person('alice').register('right');
    await person('alice').start('wrong');
    await vault.close();
    await open();
    assert.equal(await person('alice').left(), MAX - 1);
  });

  it('takes no counters of version 2, which anybody with the PIN can write, in place of its own', async () => {
    await person('alice').register('right');
    await person('alice').start('wrong');
    const { store } = token;
    const [, generation] = /\.(\d+)$/.exec([...store.keys][0] as string) as unknown as [string, string];
    const numbers = (...pairs: [bytes: 4 | 8, value: number][]) =>
      Buffer.concat(
        pairs.map(([length, value]) => Buffer.from(value.toString(16).padStart(2 * length, '0'), 'hex')),
      );
    const head = (magic: string) => Buffer.concat([bytes(magic), Buffer.of(2, 0, 0, 0)]);
    const forge = async () => {
      await vault.close();
      store.objects.clear();
      store.plant(
        'bkv.ledger.page.0',
        // Every cell is an account's that has every attempt left.
        Buffer.concat([
          head('BKVP'),
          numbers([4, 0], [4, Number(generation)], [8, 8], [4, 0], [4, 0]),
          Buffer.alloc(4064, 1),
        ]),
      );
      store.plant(
        'bkv.ledger.journal',
        Buffer.concat([head('BKVJ'), numbers([8, 9], [8, 9], [8, 8], [4, 1], [4, 1])]),
      );
    };
    await forge();
    await assert.rejects(open(), /of version 2 only/);
    // Whoever writes to the database too hides what it remembers of the ledger.
    records.binding = async () => undefined;
    await forge();
    await assert.rejects(open(), /of version 2 only/);
    // The rows can be put back later.
    await records.close();
    records = await Records.open(':memory:');
    await records.prepare();
    await forge();
    await assert.rejects(open(), /of version 2 only/);
  });

  it('lets open exchanges end before it stops, and begins none meanwhile', async () => {
    const alice = person('alice');
    const sealed = await alice.register('right');
    const finish = await alice.prove('right');
    const message = await person('bob').begin('right');
    const drained = vault.drain(new AbortController().signal);
    assert.equal(vault.trouble, 'the vault is stopping');
    for (const begin of [
      alice.start('right'),
      person('carol').begin('right'),
      alice.deal('new', '1'.repeat(32)),
    ])
      await assert.rejects(begin, code('unavailable'));
    assert.deepEqual((await finish()).encryptedBackupKey, sealed);
    await vault.finishRegistration(id('bob'), message(random(60)));
    await drained;
    // If nothing is open, it does not wait.
    await Promise.race([vault.drain(new AbortController().signal), setImmediate().then(() => assert.fail())]);
  });

  it('waits longer for last attempts, and for a proof that the token could not store, than for others', async () => {
    const alice = person('alice');
    const sealed = await alice.register('right');
    const now = performance.now.bind(performance);
    const { replaceData } = token.store;
    const stop = (hurry = new AbortController().signal) => {
      const end = { reached: false };
      const drained = vault.drain(hurry).then(() => {
        end.reached = true;
      });
      return { end, drained };
    };
    const later = async (seconds: number) => {
      performance.now = () => now() + seconds * 1000;
      await setTimeout(120);
    };
    try {
      await alice.start('right');
      const ordinary = stop();
      await setTimeout(120);
      assert.ok(!ordinary.end.reached);
      await later(16);
      assert.ok(ordinary.end.reached);
      performance.now = now;

      await vault.close();
      await open();
      const again = person('alice');
      await again.guess('wrong');
      const finish = await again.prove('right');
      const last = stop();
      token.store.replaceData = async () => Promise.reject(new Error('the disk is full'));
      await later(16);
      assert.ok(!last.end.reached);
      await assert.rejects(finish(), code('unavailable'));
      await later(30);
      assert.ok(!last.end.reached);
      token.store.replaceData = replaceData;
      token.goes('up');
      await last.drained;
      performance.now = now;

      await vault.close();
      await open();
      assert.equal(await person('alice').left(), MAX);
      assert.deepEqual(await person('alice').guess('right'), sealed);
      for (let i = 0; i < MAX; i++) await person('alice').start('right');
      const hurry = new AbortController();
      const hurried = stop(hurry.signal);
      await later(16);
      assert.ok(!hurried.end.reached);
      hurry.abort();
      await hurried.drained;
    } finally {
      performance.now = now;
      token.store.replaceData = replaceData;
    }
  });

  it('starts no recovery while the last attempts are open, and afterwards answers by their outcome', async () => {
    const alice = person('alice');
    const sealed = await alice.register('right');
    const open = [];
    for (let i = 0; i < MAX; i++) open.push(await alice.start('right'));
    await assert.rejects(alice.start('right'), code('attempts-under-way'));
    const [{ login, KE2, recoveryId }] = open as [Awaited<ReturnType<Person['start']>>];
    const { KE3 } = await generateKE3(login, KE2, stretch, identities('alice', vault.serverPublicKey));
    assert.deepEqual(await vault.finishRecovery(alice.id, recoveryId, KE3), {
      encryptedBackupKey: sealed,
      failedAttempts: 0,
    });
    assert.equal(await alice.left(), MAX);
  });

  it('counts the wrong passwords of an unknown account as those of a known one', async () => {
    const nobody = person('nobody');
    for (let i = 0; i < MAX; i++) {
      const { attemptsRemaining } = await nobody.start('any').then(async (started) => {
        await vault.abandonRecovery(nobody.id, started.recoveryId);
        return started;
      });
      assert.equal(attemptsRemaining, MAX - 1 - i);
    }
    await assert.rejects(nobody.start('any'), code('locked'));
    assert.equal(await nobody.left(), 'unregistered');
    // A deletion ends the count of both.
    const alice = person('alice');
    await alice.start('any');
    await alice.register('right');
    await alice.guess('wrong');
    for (const deleted of [nobody, alice]) {
      await vault.delete(deleted.id);
      assert.equal((await deleted.start('any')).attemptsRemaining, MAX - 1);
    }
  });

  it('does not replace a key unless it is told to', async () => {
    const alice = person('alice');
    const first = await alice.register('first');
    await assert.rejects(alice.register('second'), code('key-exists'));
    assert.deepEqual(await alice.guess('first'), first);
    const second = await alice.register('second', true);
    assert.equal(await alice.guess('first'), undefined);
    assert.deepEqual(await alice.guess('second'), second);
  });

  it('answers a repeated finish the same, and accepts no other one with its MAC', async () => {
    const alice = person('alice');
    const message = await alice.begin('right');
    const finish = message(random(60));
    await assert.rejects(
      vault.finishRegistration(alice.id, { ...finish, encryptedBackupKey: random(60) }),
      code('invalid-message'),
    );
    await assert.rejects(vault.finishRegistration(id('mallory'), finish), code('unknown-exchange'));
    await vault.finishRegistration(alice.id, finish);
    await vault.finishRegistration(alice.id, finish);
    assert.deepEqual(await alice.guess('right'), finish.encryptedBackupKey);
  });

  it('takes from its caller only the uncompressed elements of KE1, and spends nothing on others', async () => {
    const alice = person('alice');
    await alice.register('right');
    const login = readLogin(generateKE1(bytes('right')).KE1);
    const other = readLogin(generateKE1(bytes('right')).KE1);
    const flipped = login.blindedElement.map((byte, i) => (i === 64 ? byte ^ 2 : byte));
    const negated = p256.Point.fromBytes(login.blindedElement).negate().toBytes(false);
    const wrong = [
      { ...login, blindedElement: flipped },
      { ...login, blindedElement: negated },
      { ...login, blindedElement: other.blindedElement },
      { ...login, clientKeyshare: other.clientKeyshare },
      { ...login, clientKeyshare: login.clientKeyshare.map((byte, i) => (i === 0 ? 6 : byte)) },
      { ...login, clientKeyshare: login.KE1.slice(65) },
      { ...login, KE1: other.KE1 },
    ];
    for (const one of wrong)
      await assert.rejects(vault.startRecovery(alice.id, one), code('invalid-message'));
    const { attemptsRemaining } = await vault.startRecovery(alice.id, login);
    assert.equal(attemptsRemaining, vault.maxAttempts - 1);
  });

  it('gives an attempt back if the token made no evaluation', async () => {
    const alice = person('alice');
    const sealed = await alice.register('right');
    token.failing.add('login');
    for (let i = 0; i < 2 * MAX; i++) await assert.rejects(alice.start('right'), code('unavailable'));
    while (!vault.trouble) await setTimeout(2);
    assert.equal(vault.trouble, 'the token does not evaluate');
    token.failing.clear();
    assert.equal(await alice.left(), MAX);
    assert.deepEqual(await alice.guess('right'), sealed);
  });

  it('gives nothing out, and counts nothing, that the token did not store', async () => {
    const alice = person('alice');
    const sealed = await alice.register('right');
    const { replaceData } = token.store;
    token.store.replaceData = async () => Promise.reject(new Error('the disk is full'));
    await assert.rejects(alice.start('right'), code('unavailable'));
    await assert.rejects(alice.start('right'), code('unavailable'));
    assert.match(vault.trouble ?? '', /cannot be written/);
    token.store.replaceData = replaceData;
    token.goes('away');
    await assert.rejects(alice.start('right'), code('unavailable'));
    token.goes('up');
    while (vault.trouble) await setTimeout(2);
    assert.deepEqual(await alice.guess('right'), sealed);
    assert.equal(await alice.left(), MAX);
  });

  describe('tells, and deletes because of, only what the token holds', () => {
    /** Holds up all writes but the first `before` ones, until they are let through or refused. */
    const holdWrites = (before = 0) => {
      const { replaceData } = token.store;
      const gate = latch();
      const reached = latch();
      gate.promise.catch(() => undefined);
      let left = before;
      token.store.replaceData = async (...given) => {
        if (left-- <= 0) {
          reached.resolve();
          await gate.promise;
        }
        return replaceData.apply(token.store, given);
      };
      const restore = () => {
        token.store.replaceData = replaceData;
      };
      return {
        reached: reached.promise,
        refuse: () => gate.reject(new Error('the disk is full')),
        letThrough: () => {
          restore();
          gate.resolve();
        },
        comeBack: async () => {
          restore();
          token.goes('up');
          while (vault.trouble) await setTimeout(2);
        },
      };
    };

    it('an attempt', async () => {
      const alice = person('alice');
      await alice.register('right');
      for (const refused of [false, true]) {
        const writes = holdWrites();
        const started = alice.start('wrong').catch(() => undefined);
        await writes.reached;
        const told = alice.left().catch((error: CodedError) => error.code);
        assert.equal(await Promise.race([told, setTimeout(30, 'nothing yet')]), 'nothing yet');
        if (refused) writes.refuse();
        else writes.letThrough();
        assert.equal(await told, refused ? 'unavailable' : MAX - 1);
        await started;
        await writes.comeBack();
        assert.equal(await alice.left(), MAX - 1);
      }
    });

    it('a lock', async () => {
      const alice = person('alice');
      await alice.register('right');
      for (let i = 1; i < MAX; i++) await alice.guess('wrong');
      const { recoveryId } = await alice.start('wrong');
      const writes = holdWrites();
      const abandoned = assert.rejects(vault.abandonRecovery(alice.id, recoveryId), code('unavailable'));
      await writes.reached;
      const told = alice.start('right').catch((error: CodedError) => error.code);
      assert.equal(await Promise.race([told, setTimeout(30, 'nothing yet')]), 'nothing yet');
      writes.refuse();
      assert.equal(await told, 'unavailable');
      await abandoned;
      await writes.comeBack();
      await assert.rejects(alice.start('right'), code('locked'));
    });

    it('the end of a key, however long it takes to tell', async () => {
      const alice = person('alice');
      const sealed = await alice.register('right');
      const writes = holdWrites();
      const deleted = assert.rejects(vault.delete(alice.id), code('unavailable'));
      await writes.reached;
      const [looking, slow] = [latch(), latch()];
      const call = token.call.bind(token);
      token.call = async (method, ...given) => {
        if (given[0] === KEY_LABELS.fake) {
          looking.resolve();
          await slow.promise;
        }
        return call(method, ...given);
      };
      const told = [alice.left(), alice.start('right')].map((answer) =>
        assert.rejects(answer, code('unavailable')),
      );
      await looking.promise;
      writes.refuse();
      await deleted;
      await writes.comeBack();
      slow.resolve();
      await Promise.all(told);
      token.call = call;
      assert.deepEqual(await alice.guess('right'), sealed);
    });

    it('the end of a key, however often it is asked for', async () => {
      const [old, fresh] = ['1'.repeat(32), '2'.repeat(32)];
      const ends = {
        delete: () => vault.delete(id('delete')),
        commit: () => vault.commitDealing(id('commit'), fresh),
        withdraw: () => vault.withdrawDealing(id('withdraw'), fresh),
      };
      for (const [name, end] of Object.entries(ends)) {
        const alice = person(name);
        await alice.deal('old', old);
        await alice.guess('old', old);
        await alice.deal('new', fresh);
        if (name === 'commit') await alice.guess('new', fresh);
        const writes = holdWrites();
        writes.refuse();
        for (let i = 0; i < 3; i++) await assert.rejects(end(), code('unavailable'), `${name} ${i}`);
        await writes.comeBack();
        const status = await vault.status(alice.id);
        assert.equal(status.state === 'registered' && status.dealings.length, 2, name);
        await end();
        await end().catch((error) => assert.ok(code('unknown-exchange')(error)));
        const after = await vault.status(alice.id);
        assert.equal(after.state === 'registered' ? after.dealings.length : 0, name === 'delete' ? 0 : 1);
      }
    });

    it('the end of a key whose row is looked through at the start', async () => {
      const alice = person('alice');
      const sealed = await alice.register('right');
      await vault.close();
      const looked = latch();
      const { cells } = records;
      let finished = 0;
      records.cells = async (...given) => {
        await looked.promise;
        const rows = await cells.apply(records, given);
        finished++;
        return rows;
      };
      await open();
      const message = (await person('alice').begin('new'))(random(60), true);
      // The write that reserves the new cell succeeds, and the one that ends the old cell fails.
      const writes = holdWrites(1);
      writes.refuse();
      await assert.rejects(vault.finishRegistration(id('alice'), message), code('unavailable'));
      looked.resolve();
      while (finished === 0) await setTimeout(2);
      await setTimeout(30);
      await writes.comeBack();
      assert.deepEqual(await person('alice').guess('right'), sealed);
    });

    it('the end of a key whose password is proven meanwhile', async () => {
      const alice = person('alice');
      const sealed = await alice.register('right');
      for (let i = 1; i < MAX; i++) await alice.guess('wrong');
      const message = (await alice.begin('new'))(random(60), true);
      const finish = await alice.prove('right');
      const writes = holdWrites(1);
      const replaced = assert.rejects(vault.finishRegistration(alice.id, message), code('unavailable'));
      await writes.reached;
      const proven = assert.rejects(finish(), code('unavailable'));
      writes.refuse();
      await Promise.all([replaced, proven]);
      await writes.comeBack();
      assert.deepEqual((await finish()).encryptedBackupKey, sealed);
      assert.equal(await alice.left(), MAX);
    });
  });

  it('loses no key whose registration is finished again while its page gets another key', async () => {
    const alice = person('alice');
    const sealed = random(60);
    const finish = (await alice.begin('right'))(sealed);
    const { put } = records;
    records.put = async () => Promise.reject(new DatabaseError('the disk is full'));
    await assert.rejects(vault.finishRegistration(alice.id, finish), code('unavailable'));
    records.put = put;
    const { replaceData } = token.store;
    let again: Promise<void> | undefined;
    let pages = 0;
    token.store.replaceData = async (label, ...rest) => {
      if (label.startsWith('bkv.ledger.page.') && ++pages === 2) {
        again = vault.finishRegistration(alice.id, finish);
        await setTimeout(20);
      }
      return replaceData.call(token.store, label, ...rest);
    };
    await vault.shred({ all: true });
    assert.ok(again);
    await again;
    assert.deepEqual(await alice.guess('right'), sealed);
  });

  it('loses no key if its last attempt was proven while the token could not be written', async () => {
    for (const again of [true, false]) {
      const alice = person(`alice ${again}`);
      const sealed = await alice.register('right');
      for (let i = 1; i < MAX; i++) await alice.guess('wrong');
      const finish = await alice.prove('right');
      const { replaceData } = token.store;
      token.store.replaceData = async () => Promise.reject(new Error('the disk is full'));
      for (let i = 0; i < 2; i++) await assert.rejects(finish(), code('unavailable'));
      await assert.rejects(alice.start('right'), code('unavailable'));
      token.goes('away');
      await assert.rejects(finish(), code('unavailable'));
      token.goes('up');
      await assert.rejects(finish(), code('unavailable'));
      token.store.replaceData = replaceData;
      token.goes('up');
      while (vault.trouble) await setTimeout(2);
      if (again) assert.deepEqual(await finish(), { encryptedBackupKey: sealed, failedAttempts: MAX - 1 });
      assert.equal(await alice.left(), MAX);
      assert.deepEqual(await alice.guess('right'), sealed);
    }
  });

  it('completes a registration by the same finish once the token can be written, whatever the first try did', async () => {
    const { replaceData } = token.store;
    const refuse = async () => Promise.reject(new Error('the disk is full'));
    const writeAndFail: typeof replaceData = async (...given) => {
      await replaceData.apply(token.store, given);
      return refuse();
    };
    // The write that fails either reserves the cell or gives it to the account.
    for (const [i, failing] of [refuse, writeAndFail].entries())
      for (const good of [0, 1]) {
        const alice = person(`alice ${i} ${good}`);
        const sealed = random(60);
        const finish = (await alice.begin('right'))(sealed);
        const shares = await person(`bob ${i} ${good}`).beginShare('right', '1'.repeat(32));
        let left = good;
        for (const end of [() => vault.finishRegistration(alice.id, finish), shares.finish]) {
          left = good;
          token.store.replaceData = (...given) =>
            (left-- > 0 ? replaceData : failing).apply(token.store, given);
          for (let again = 0; again < 2; again++) await assert.rejects(end(), code('unavailable'));
          token.store.replaceData = replaceData;
          token.goes('up');
          while (vault.trouble) await setTimeout(2);
          await end();
          await end();
        }
        assert.deepEqual(await alice.guess('right'), sealed);
        assert.equal(await alice.left(), MAX);
        const bob = person(`bob ${i} ${good}`);
        assert.deepEqual(await bob.guess('right', '1'.repeat(32)), shares.encryptedBackupKey);
      }
    assert.equal(await records.count(), 8);
  });

  it('answers a repeated finish of a recovery the same, and counts it once', async () => {
    const alice = person('alice');
    const encryptedBackupKey = await alice.register('right');
    await alice.guess('wrong');
    const finish = await alice.prove('right');
    const answer = { encryptedBackupKey, failedAttempts: 1 };
    assert.deepEqual(await Promise.all([finish(), finish()]), [answer, answer]);
    await alice.guess('wrong');
    assert.deepEqual(await finish(), answer);
    const { recoveryId } = await alice.start('right');
    const KE3 = random(32);
    for (let i = 0; i < 3; i++)
      await assert.rejects(vault.finishRecovery(alice.id, recoveryId, KE3), code('wrong-password'));
    await assert.rejects(vault.finishRecovery(alice.id, recoveryId, random(32)), code('unknown-exchange'));
    await assert.rejects(vault.finishRecovery(id('mallory'), recoveryId, KE3), code('unknown-exchange'));
    assert.equal(await alice.left(), MAX - 2);
    await vault.delete(alice.id);
    await assert.rejects(finish(), code('unknown-exchange'));
  });

  it('tells only whoever proves the password how many attempts failed since the last proof', async () => {
    const alice = person('alice');
    await alice.register('right');
    const failed = async (dealing?: string) => {
      const finish = await person('alice').prove('right', dealing);
      return (await finish()).failedAttempts;
    };
    assert.equal(await failed(), 0);
    // Failed attempts: one is abandoned, one has a wrong proof, and a later one is cut off by the vault's end.
    await alice.guess('wrong');
    const { recoveryId } = await alice.start('wrong');
    await assert.rejects(vault.finishRecovery(alice.id, recoveryId, random(32)), code('wrong-password'));
    assert.equal(await failed(), 2);
    assert.equal(await failed(), 0);
    await alice.start('wrong');
    await vault.close();
    await open();
    assert.equal(await failed(), 1);
    // Neither an open attempt nor one that was given back counts as failed.
    const again = person('alice');
    await again.start('right');
    token.failing.add('login');
    await assert.rejects(again.start('right'), code('unavailable'));
    token.failing.clear();
    assert.equal(await failed(), 0);
  });

  it('reports at a new dealing how many attempts failed at the others', async () => {
    const alice = person('alice');
    const failed = async (dealing: string) => (await (await alice.prove('right', dealing))()).failedAttempts;
    const [first, second] = ['1'.repeat(32), '2'.repeat(32)];
    await alice.deal('right', first);
    assert.equal(await failed(first), 0);
    await alice.guess('wrong', first);
    await alice.deal('right', second);
    assert.equal(await failed(second), 1);
    assert.equal(await failed(second), 0);
    assert.equal(await failed(first), 1);
  });

  it('gives out a cell again if its row could not be sealed', async () => {
    const alice = person('alice');
    const message = await alice.begin('right');
    token.failing.add('hmac');
    await assert.rejects(vault.finishRegistration(alice.id, message(random(60))), code('unavailable'));
    token.failing.clear();
    const bob = person('bob');
    await bob.register('right');
    assert.deepEqual(
      (await records.find(vault.nameOf(bob.id))).map(({ cell }) => cell),
      [0],
    );
  });

  it('ends exchanges that are not finished in time: the attempt stays spent, a reserved cell is free', async () => {
    await person('alice').register('right');
    await vault.close();
    await open({ exchangeLifetime: 20 });
    const alice = person('alice');
    const { recoveryId } = await alice.start('right');
    const message = await person('bob').begin('right');
    await setTimeout(60);
    await assert.rejects(vault.finishRecovery(alice.id, recoveryId, random(32)), code('exchange-expired'));
    await assert.rejects(vault.finishRegistration(id('bob'), message(random(60))), code('exchange-expired'));
    assert.equal(await alice.left(), MAX - 1);
  });

  it('zeroes the KE3 that it expects, however a recovery ends', async () => {
    const expected: Uint8Array[] = [];
    const call = token.call.bind(token);
    token.call = async (method, ...args) => {
      const answer = await call(method, ...args);
      if (method === 'login') expected.push((answer as { expectedKE3: Uint8Array }).expectedKE3);
      return answer;
    };
    const alice = person('alice');
    await alice.register('right');
    await (await alice.prove('right'))();
    const wrong = await alice.start('wrong');
    await assert.rejects(
      vault.finishRecovery(alice.id, wrong.recoveryId, random(32)),
      code('wrong-password'),
    );
    await vault.abandonRecovery(alice.id, (await alice.start('wrong')).recoveryId);
    await vault.close();
    await open({ exchangeLifetime: 20 });
    const late = await person('alice').start('right');
    await setTimeout(60);
    await assert.rejects(
      vault.finishRecovery(alice.id, late.recoveryId, random(32)),
      code('exchange-expired'),
    );
    assert.deepEqual(expected, Array(4).fill(new Uint8Array(32)));
  });

  it('forgets a deleted account, and its old row opens no more after a sweep', async () => {
    const [alice, bob] = [person('alice'), person('bob')];
    await alice.register('right');
    const sealed = await bob.register('right');
    const old = await records.find(vault.nameOf(alice.id));
    const [page] = [...token.store.keys];
    await vault.delete(alice.id);
    assert.equal(await alice.left(), 'unregistered');
    for (const row of old) await records.put(row);
    assert.equal(await alice.left(), 'unregistered');
    const shredded: unknown[] = [];
    await vault.shred({}, (one) => shredded.push(one));
    assert.deepEqual(shredded, [{ page: 0, moved: 1, lost: 0, done: true }]);
    assert.ok(!token.store.keys.has(page as string));
    assert.deepEqual(await bob.guess('right'), sealed);
  });

  it('still calls an account locked after its cell was given to another', async () => {
    const alice = person('alice');
    await alice.register('right');
    for (let i = 0; i < MAX; i++) await alice.guess('wrong');
    await setImmediate();
    await vault.shred();
    for (const name of ['bob', 'carol']) await person(name).register('right');
    assert.equal(await alice.left(), 'locked');
    await alice.register('new', true);
    assert.equal(await alice.left(), MAX);
  });

  it('refuses a row that was moved to another account, or is an older one of the same', async () => {
    const [alice, bob] = [person('alice'), person('bob')];
    await alice.register('right');
    const [row] = await records.find(vault.nameOf(alice.id));
    assert.ok(row);
    await records.put({ ...row, account: vault.nameOf(bob.id) });
    assert.equal(await bob.left(), 'unregistered');
    await alice.register('newer', true);
    const [newer] = await records.find(vault.nameOf(alice.id));
    assert.ok(newer);
    await records.put({ ...row, cell: newer.cell });
    assert.equal(await alice.left(), 'unregistered');
  });

  it('gives no attempt back for an older copy of the database, and reports the accounts that the copy lacks', async () => {
    const lost = () => /^bkv_lost_records (\d+)$/m.exec(renderMetrics())?.[1];
    const alice = person('alice');
    const sealed = await alice.register('right');
    await alice.guess('wrong');
    await person('bob').register('right');
    const [row] = await records.find(vault.nameOf(id('bob')));
    assert.ok(row);
    for (const [present, expected] of [
      [false, '1'],
      [true, '0'],
    ] as const) {
      await vault.close();
      await (present ? records.put(row) : records.delete(row));
      await open();
      while (lost() !== expected) await setTimeout(2);
      assert.equal(await person('alice').left(), MAX - 1);
    }
    assert.deepEqual(await person('alice').guess('right'), sealed);
    assert.ok(await person('bob').guess('right'));
  });

  it('a dealing ends the others once it is proven here, and not before', async () => {
    const alice = person('alice');
    const [first, second] = ['1'.repeat(32), '2'.repeat(32)];
    const sealed = await alice.deal('old', first);
    await assert.rejects(vault.commitDealing(alice.id, first), code('dealing-conflict'));
    assert.deepEqual(await alice.guess('old', first), sealed);
    await vault.commitDealing(alice.id, first);
    const newer = await alice.deal('new', second);
    await assert.rejects(vault.commitDealing(alice.id, second), code('dealing-conflict'));
    assert.deepEqual(await alice.guess('old', first), sealed);
    assert.deepEqual(await alice.guess('new', second), newer);
    await vault.commitDealing(alice.id, second);
    await assert.rejects(alice.guess('old', first), code('unknown-exchange'));
    await assert.rejects(vault.withdrawDealing(alice.id, second), code('dealing-conflict'));
  });

  it('an attempt is spent on every dealing, and a new dealing begins with the highest count', async () => {
    const alice = person('alice');
    const [first, second] = ['1'.repeat(32), '2'.repeat(32)];
    await alice.deal('old', first);
    await alice.guess('old', first);
    await alice.deal('new', second);
    await alice.guess('wrong', second);
    const left = async () => {
      const status = await vault.status(alice.id);
      assert.equal(status.state, 'registered');
      return status.dealings.map(({ attemptsRemaining }) => attemptsRemaining);
    };
    assert.deepEqual(await left(), [MAX - 1, MAX - 1]);
    await vault.withdrawDealing(alice.id, second);
    await alice.deal('new', second);
    assert.deepEqual(await left(), [MAX - 1, MAX - 1]);
    assert.ok(await alice.guess('old', first));
    assert.deepEqual((await left()).sort(), [MAX - 1, MAX]);
  });

  it('says "internal" of its own faults, and "unavailable" only of token, counters and database', async () => {
    const alice = person('alice');
    const sealed = await alice.register('right');
    const { find } = records;
    records.find = async () => (undefined as unknown as { rows: never }).rows;
    await assert.rejects(alice.start('right'), (error) => codeOf(error) === 'internal');
    records.find = find;
    await records.close();
    records = await Records.open(':memory:');
    const unprepared = await Vault.open(token, records, { maxAttempts: MAX, exchangeLifetime: 60_000 }).catch(
      codeOf,
    );
    assert.equal(unprepared, 'database-failed');
    assert.ok(sealed);
  });

  it('uses one cell for a registration whose row the database takes at last, and gives back that of one given up', async () => {
    const { put } = records;
    for (const ends of [true, false]) {
      const name = person(`alice ${ends}`);
      const message = await name.begin('right');
      const finish = message(random(60));
      const shares = await person(`bob ${ends}`).beginShare('right', '1'.repeat(32));
      const written = new Set<number>();
      records.put = async (row) => {
        written.add(row.cell);
        await put.call(records, row);
        throw new DatabaseError('the disk is full');
      };
      for (let i = 0; i < 3; i++) {
        await assert.rejects(vault.finishRegistration(name.id, finish), code('unavailable'));
        await assert.rejects(shares.finish(), code('unavailable'));
      }
      assert.equal(written.size, 2);
      records.put = put;
      if (!ends) continue;
      await vault.finishRegistration(name.id, finish);
      await shares.finish();
      assert.deepEqual(await name.guess('right'), finish.encryptedBackupKey);
    }
    const { writes } = token.store;
    await vault.close();
    assert.ok(token.store.writes > writes, 'the cells are ended');
    await open();
    while ((await records.count()) !== 2) await setTimeout(2);
  });

  it('takes a key share again if the token failed, and after an answer does not', async () => {
    const { publicKey: keyshare } = deriveKeyPair(random(32));
    const { registrationRequest } = createRegistrationRequest(bytes('right'));
    const start = {
      register: () => vault.startRegistration(id('alice'), { registrationRequest, keyshare }),
      deal: () => vault.startShare(id('alice'), { dealing: '1'.repeat(32), index: 1, keyshare }),
    };
    for (const failing of ['multiply', 'generateWrapped'] as const)
      for (const begin of Object.values(start)) {
        token.failing.add(failing);
        await assert.rejects(begin(), code('unavailable'));
        token.failing.clear();
      }
    await start.deal();
    await assert.rejects(start.register(), code('invalid-message'));
  });

  it('closes all that it began if it cannot be opened', async () => {
    const { bind } = records;
    let bound = 0;
    let failing = true;
    records.bind = async (...given) => {
      bound++;
      if (failing) throw new DatabaseError('no room');
      return bind.apply(records, given);
    };
    const other = () => Vault.open(token, records, { maxAttempts: MAX, exchangeLifetime: 60_000 });
    for (let i = 0; i < 3; i++) await assert.rejects(other(), /no room/);
    failing = false;
    bound = 0;
    await setTimeout(1200);
    assert.equal(bound, 0, 'a mark of a vault that is closed');
    await vault.close();
    await open();
  });

  it('keeps backups of its token one after the other', async () => {
    let [running, most] = [0, 0];
    token.store.plant('bkv.backup.keys', Buffer.from('{}'));
    await vault.close();
    await open({
      keepBackup: async () => {
        most = Math.max(most, ++running);
        await setTimeout(5);
        running--;
      },
    });
    await Promise.all([vault.keepBackup(), vault.keepBackup(), vault.shred({ all: true })]);
    assert.equal(most, 1);
  });

  it('lets only one vault write to a token', async () => {
    await person('alice').register('right');
    const other = await Vault.open(token, records, { maxAttempts: MAX, exchangeLifetime: 60_000 });
    await assert.rejects(person('alice').start('right'), code('unavailable'));
    await vault.fenced;
    await other.close();
  });

  it('leaves the mark of a vault that took the token over, even before it knows of that', async () => {
    await person('alice').register('right');
    const next = await Vault.open(token, records, { maxAttempts: MAX, exchangeLifetime: 60_000 });
    const { mark } = (await records.binding()) ?? {};
    await vault.close();
    assert.deepEqual((await records.binding())?.mark, mark);
    await next.close();
  });

  it('is not ready while its database fails, though nobody asks it for anything', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'bkv-vault-'));
    const path = join(folder, 'records.sqlite');
    const elsewhere = await Records.open(path);
    await elsewhere.prepare();
    await vault.close();
    token = new MemoryToken();
    vault = await Vault.open(token, elsewhere, { maxAttempts: MAX, exchangeLifetime: 60_000 });
    assert.equal(vault.trouble, undefined);
    renameSync(path, `${path}.away`);
    while (!vault.trouble) await setTimeout(5);
    assert.match(vault.trouble, /^the database fails \(.* was replaced or deleted/);
    renameSync(`${path}.away`, path);
    assert.equal(await person('alice').left(), 'unregistered');
    assert.equal(vault.trouble, undefined);
    await vault.close();
    await elsewhere.close();
    rmSync(folder, { recursive: true });
  });
});
