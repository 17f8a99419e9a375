import type { Daemon } from '../test/daemon.js';

/** The daemon as it is measured: no limit of requests in the way. */
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

/** Whole recoveries over HTTP; only the daemon's time counts: the two halves are measured without the client's share. */
export async function recoveries(daemon: Daemon, accounts: readonly string[], width: number) {
  const measure = async <R>(work: () => Promise<R>) => {
    const [cpu, wall] = [daemon.cpu(), performance.now()];
    const result = await work();
    return { result, cpu: daemon.cpu() - cpu, wall: (performance.now() - wall) / 1000 };
  };
  const first = await measure(() =>
    parallel(accounts, width, (account) => daemon.startRecovery(account, PASSWORD)),
  );
  const second = await measure(() => parallel(first.result, width, ({ prove }) => prove()));
  return { count: accounts.length, cpu: first.cpu + second.cpu, wall: first.wall + second.wall };
}
