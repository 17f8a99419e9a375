import cluster, { type Worker } from 'node:cluster';
import { type AddressInfo, createServer } from 'node:net';
import type { HostPort } from '../config/index.js';
import { hearsSignals, Restarts, stopSignal } from '../process/index.js';
import { log } from './log.js';

// Workers accept connections themselves, so that none waits in the primary for a worker that has just died.
cluster.schedulingPolicy = cluster.SCHED_NONE;

/** The workers that serve the API. One that ends is started again; the others go on meanwhile. */
export class Workers {
  #served = false;
  readonly #restarts = new Restarts();
  /** workers that a signal no longer ends unheard */
  readonly #hearing = new Set<Worker>();
  #port = 0;

  /** @param address if its port is 0, all workers share any free one */
  constructor(
    readonly count: number,
    readonly address: HostPort,
  ) {}

  /** Starts all. @returns their address @throws Error when the first one ends before it serves */
  async start(): Promise<string> {
    // The cluster would choose another port when its last worker is started again.
    this.#port = this.address.port || (await freePort(this.address.host));
    const first = await this.#start(1);
    await Promise.all(Array.from({ length: this.count - 1 }, (_, i) => this.#start(i + 2)));
    return first;
  }

  /** Makes all workers read their certificates again, which those that are still starting do anyway. */
  hangUp(): void {
    for (const worker of this.#hearing) worker.process.kill('SIGHUP');
  }

  /** Waits until all have ended. */
  async stop(): Promise<void> {
    const running = Object.values(cluster.workers ?? {}) as Worker[];
    await Promise.all(
      running.map((worker) => {
        const ended = new Promise((resolve) => worker.once('exit', resolve));
        worker.kill('SIGTERM');
        return ended;
      }),
    );
  }

  #start(number: number): Promise<string> {
    const worker = cluster.fork({ BKV_HTTP_WORKER: String(number), BKV_HTTP_PORT: String(this.#port) });
    const begun = performance.now();
    return new Promise((resolve, reject) => {
      worker.on('message', (message: { listening?: string } | null) => {
        if (hearsSignals(message)) this.#hearing.add(worker);
        const listening = message?.listening;
        if (listening === undefined) return;
        this.#served = true;
        resolve(listening);
      });
      worker.on('exit', (code, signal) => {
        this.#hearing.delete(worker);
        reject(new Error(`an HTTP worker ended with ${signal ?? code}`));
        if (stopSignal.aborted || !this.#served) return;
        const wait = this.#restarts.waitAfter(begun);
        log.error('an HTTP worker ended, and is started again', { worker: number, code, signal, wait });
        setTimeout(() => {
          if (!stopSignal.aborted) this.#start(number).catch(() => undefined);
        }, wait);
      });
    });
  }
}

async function freePort(host: string): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, host, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
