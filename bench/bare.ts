import { parentPort, workerData } from 'node:worker_threads';
import { p256 } from '@noble/curves/nist.js';
import { KEY_LABELS, type Profile } from '../src/keeper/pkcs11/index.js';
import { Session } from '../src/keeper/pkcs11/session.js';

/** Mean number of calls of each token operation in one recovery. */
export interface Mix {
  readonly hmac: number;
  /** an evaluation with a wrapped OPRF key and an ECDH with the static key */
  readonly login: number;
  /** an object written and an older one destroyed */
  readonly replaceData: number;
}

const { profile, mix, count } = workerData as { profile: Profile; mix: Mix; count: number };
const session = new Session(profile);
const label = `bench.${process.hrtime.bigint()}`;
session.learn(label, session.generatePageKey(label));
const elements = Array.from({ length: 64 }, (_, i) =>
  p256.Point.BASE.multiply(4711n + BigInt(i)).toBytes(true),
);
const keys = elements.map(() => session.generateWrapped());
const rowKeyInput = new Uint8Array(89);
const journal = new Uint8Array(400);
const objects: string[] = [];

function recover(i: number): void {
  // `share` can be a fraction. With 0.25 (four recoveries share a call) the operation is called in every fourth turn.
  const times = (share: number) => Math.floor((i + 1) * share) - Math.floor(i * share);
  const element = elements[i % elements.length] as Uint8Array;
  for (let n = times(mix.hmac); n > 0; n--) session.hmac(label, rowKeyInput);
  for (let n = times(mix.login); n > 0; n--) {
    session.multiply(keys[i % keys.length] as (typeof keys)[0], element);
    session.multiply({ label: KEY_LABELS.static }, element);
  }
  for (let n = times(mix.replaceData); n > 0; n--) {
    objects.push(session.createData('bench', journal));
    session.supersede(objects.splice(0, objects.length > 31 ? 1 : 0));
  }
}

const port = parentPort as NonNullable<typeof parentPort>;
port.on('message', (what: 'warm' | 'run' | 'end') => {
  if (what === 'end') return port.close();
  for (let i = 0; i < (what === 'warm' ? 300 : count); i++) recover(i);
  port.postMessage(what);
});
port.postMessage('ready');
