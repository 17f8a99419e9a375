import { createECDH, randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { p256 } from '@noble/curves/nist.js';
import { KEY_LABELS, type KeyLabel } from './keyring.js';
import { type Profile, readPin } from './profile.js';
import { Session } from './session.js';
import { inspectToken, makeKey, withModule, withSession } from './setup.js';
import { wrapScalar } from './wrapping.js';

/** One thing that the vault needs of a token, tried. */
export interface Finding {
  readonly name: string;
  readonly result: 'works' | 'missing' | 'unsafe' | 'note';
  readonly detail: string;
  /** milliseconds of one call, median */
  readonly ms?: number;
}

const PREFIX = 'bkv.doctor.';
const labels = { wrap: `${PREFIX}wrap` };
const OBJECT_BYTES = 4096;

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number;

/**
 * Tries every operation that the vault needs on a token, with keys and objects that are thrown away.
 * @param objects how many data objects of 4,096 bytes to try to hold at once
 */
export function examine(profile: Profile, objects = 300): Finding[] {
  const findings: Finding[] = [];
  const note = (name: string, detail: string) => void findings.push({ name, result: 'note', detail });
  const attempt = <T>(
    name: string,
    work: () => T,
    times = 1,
    detail?: (value: T) => string,
  ): T | undefined => {
    const spent: number[] = [];
    try {
      let value: T | undefined;
      for (let i = 0; i < times; i++) {
        const start = performance.now();
        value = work();
        spent.push(performance.now() - start);
      }
      findings.push({ name, result: 'works', detail: detail?.(value as T) ?? '', ms: median(spent) });
      return value;
    } catch (error) {
      findings.push({ name, result: 'missing', detail: (error as Error).message });
      return undefined;
    }
  };

  safety(profile, findings);
  let session: Session | undefined;
  try {
    const info = attempt(
      'module, token and login',
      () => describe(profile),
      1,
      (text) => text,
    );
    if (!info) return findings;
    const made = new Set<string>();
    for (const [kind, what] of Object.entries({
      static: 'key agreement key (CKM_EC_KEY_PAIR_GEN, P-256)',
      wrap: 'wrapping key (CKM_AES_KEY_GEN)',
      ledger: 'MAC key (CKM_GENERIC_SECRET_KEY_GEN)',
    }) as [keyof typeof KEY_LABELS, string][])
      attempt(what, () =>
        withModule(profile, (module) =>
          withSession(module, profile, (one) => {
            makeKey(one, KEY_LABELS[kind] as KeyLabel, PREFIX + kind);
            made.add(kind);
          }),
        ),
      );
    session = attempt('session', () => new Session(profile, { labels }));
    if (!session) return findings;
    const open = session;

    const scalar = randomBytes(32);
    scalar[0] = 1;
    const element = p256.Point.BASE.multiply(BigInt(`0x${randomBytes(16).toString('hex')}`));
    const expected = element.multiply(BigInt(`0x${scalar.toString('hex')}`)).toBytes(true);
    const same = (actual: Uint8Array) => {
      if (!Buffer.from(actual).equals(expected)) throw new Error('the result is wrong');
    };
    if (made.has('static'))
      attempt(
        'evaluation with a key of the token (2 × CKM_ECDH1_DERIVE)',
        () => open.multiply({ label: `${PREFIX}static` }, element.toBytes(true)),
        20,
      );
    if (made.has('ledger'))
      attempt('CKM_SHA256_HMAC', () => open.hmac(`${PREFIX}ledger`, Buffer.from('doctor')), 20);

    attempt('key of a page (CKM_GENERIC_SECRET_KEY_GEN)', () => {
      open.learn(`${PREFIX}page`, open.generatePageKey(`${PREFIX}page`));
      open.hmac(`${PREFIX}page`, Buffer.from('doctor'));
      open.destroySecretKey(`${PREFIX}page`);
    });
    const key =
      made.has('wrap') && attempt('make and wrap an OPRF key (RFC 5649)', () => open.generateWrapped(), 10);
    if (key) attempt('evaluation with a wrapped key', () => open.multiply(key, element.toBytes(true)), 20);
    attempt('evaluation is byte-exact (a known scalar, unwrapped)', () =>
      same(open.multiply({ scalar }, element.toBytes(true))),
    );
    if (key)
      attempt('take in a share (CKM_ECDH1_DERIVE to AES, RFC 5649)', () => {
        const client = createECDH('prime256v1');
        const keyshare = client.generateKeys();
        const publicKey = p256.Point.BASE.multiply(BigInt(`0x${scalar.toString('hex')}`)).toBytes(false);
        const travelling = wrapScalar(scalar, client.computeSecret(key.publicKey));
        const taken = open.importShare(key, { keyshare, wrapped: travelling, publicKey });
        same(open.multiply({ wrapped: taken, publicKey }, element.toBytes(true)));
      });

    const value = randomBytes(OBJECT_BYTES);
    let writer = attempt('data object of 4,096 bytes', () => {
      const handle = open.createData(`${PREFIX}data`, value);
      const [found] = open.listData(`${PREFIX}data`);
      if (!found || !value.equals(found.value)) throw new Error('it does not read back as it was written');
      return handle;
    });
    if (writer) {
      attempt(
        'write a counter (object written, the one before destroyed)',
        () => {
          const before = { handle: writer as string, value };
          writer = open.createData(`${PREFIX}data`, value);
          open.supersede([before.handle], before);
        },
        10,
      );
      attempt('notice that another writer has come', () => {
        open.destroyData(writer as string);
        try {
          open.supersede([], { handle: writer as string, value });
        } catch (error) {
          if ((error as { reason?: string }).reason === 'BKV_FENCED') return;
          throw error;
        }
        throw new Error('a destroyed object still seems to be there');
      });
      note('room', room(open, objects));
    }
  } finally {
    if (session) {
      for (const { handle } of session.listData(PREFIX)) session.destroyData(handle);
      session.destroyKeys(PREFIX);
      session.close();
    }
  }
  return findings;
}

/** How many data objects fit. */
function room(session: Session, objects: number): string {
  let held = 0;
  try {
    while (held < objects) {
      session.createData(`${PREFIX}room`, randomBytes(OBJECT_BYTES));
      held++;
    }
  } catch (error) {
    return `${held} objects of 4,096 bytes fit, about ${accounts(held)} accounts (then ${(error as Error).message})`;
  }
  return `at least ${held} objects of 4,096 bytes fit, ${accounts(held)} accounts`;
}

/** A page holds 4,064 accounts; some eight objects are journal, writer and what is being replaced. */
const accounts = (objects: number): string => (Math.max(0, objects - 8) * 4064).toLocaleString('en');

function safety(profile: Profile, findings: Finding[]): void {
  try {
    readPin(profile);
    findings.push({ name: 'PIN', result: 'works', detail: '' });
  } catch (error) {
    const result = /others can read/.test((error as Error).message) ? 'unsafe' : 'missing';
    findings.push({ name: 'PIN', result, detail: (error as Error).message });
  }
  const { mode, uid } = statSync(profile.module);
  if (mode & 0o022 || (uid !== 0 && uid !== process.getuid?.()))
    findings.push({ name: 'module', result: 'unsafe', detail: `others can write ${profile.module}` });
  try {
    inspectToken(profile);
    findings.push({ name: "the vault's keys", result: 'works', detail: 'none can leave the token' });
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    const result = code === 'BKV_UNSAFE_KEY' ? 'unsafe' : 'note';
    findings.push({ name: "the vault's keys", result, detail: message });
  }
}

/** What module and token say of themselves. */
function describe(profile: Profile): string {
  let text = '';
  withModule(profile, (module) =>
    withSession(module, profile, (session) => {
      const token = session.slot.getToken();
      const version = ({ major, minor }: { major: number; minor: number }) => `${major}.${minor}`;
      text = `${module.libraryDescription.trim()} ${version(module.libraryVersion)}, ${token.manufacturerID.trim()} ${token.model.trim()} (firmware ${version(token.firmwareVersion)})`;
    }),
  );
  return text;
}
