import { type Daemon, HttpFailure } from '../rig/daemon.js';
import { generateKE1, SIZES } from '../src/protocol/index.js';

/** Configuration of a measured daemon, with limits too high to be reached. */
export const CONFIG =
  'maxAttempts: 200\nexchangeSeconds: 600\nrateLimit: { account: 1000000, address: 10000000 }\n';
const PASSWORD = 'correct horse';

/** Registers accounts `a0`, `a1`, … @returns their ids */
export async function registerAccounts(daemon: Daemon, count: number): Promise<string[]> {
  const accounts = Array.from({ length: count }, (_, i) => `a${i}`);
  await parallel(accounts, 64, (account) => daemon.register(account, PASSWORD));
  return accounts;
}

/** Runs `work` over all items, `width` at a time. */
export async function parallel<T, R>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < items.length) {
        const i = next++;
        results[i] = await work(items[i] as T);
      }
    }),
  );
  return results;
}

/**
 * Makes `times` wrong guesses at each account, so that V8 has compiled the daemon's code before the measurement. All guesses
 * send the same KE1 and KE3, so that the client computes nothing.
 */
export async function warmUp(daemon: Daemon, accounts: readonly string[], times: number): Promise<void> {
  const { KE1 } = generateKE1(Buffer.from('wrong'));
  const KE3 = new Uint8Array(SIZES.KE3);
  await parallel(accounts, 64, async (account) => {
    const vault = await daemon.reach(account);
    for (let i = 0; i < times; i++) {
      const { recoveryId } = await vault.ask('startRecovery', { KE1 });
      await vault.ask('finishRecovery', { recoveryId, KE3 }).catch((error) => {
        if (!(error instanceof HttpFailure) || error.status !== 403) throw error;
      });
    }
  });
}

/** Measures whole recoveries over HTTP. The client computes its messages beforehand, outside the measured time. */
export async function recoveries(daemon: Daemon, accounts: readonly string[], width: number) {
  const measure = async <R>(requests: readonly (() => Promise<R>)[]) => {
    const [cpu, wall] = [daemon.cpu(), performance.now()];
    const answers = await parallel(requests, width, (request) => request());
    return { answers, cpu: daemon.cpu() - cpu, wall: (performance.now() - wall) / 1000 };
  };
  const starts = await parallel(accounts, width, (account) => daemon.prepareRecovery(account, PASSWORD));
  const first = await measure(starts);
  const proofs = await parallel(first.answers, width, ({ prepareProof }) => prepareProof());
  const second = await measure(proofs);
  return { count: accounts.length, cpu: first.cpu + second.cpu, wall: first.wall + second.wall };
}
