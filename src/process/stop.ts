const stopping = new AbortController();

/** Aborts when this process is to stop: see {@link listenForStop}. */
export const stopSignal: AbortSignal = stopping.signal;

/**
 * Has {@link stopSignal} abort at SIGTERM, when the parent ends, and, in a process without a parent of ours, at SIGINT. A
 * terminal sends SIGINT to all processes at once; then the supervisor alone decides their order.
 */
export function listenForStop(): void {
  const stop = () => stopping.abort();
  process.on('SIGTERM', stop);
  process.on('SIGINT', process.send ? () => undefined : stop);
  process.on('disconnect', stop);
  // Has the HTTP side read its certificates again; ends nothing.
  process.on('SIGHUP', () => undefined);
}

/** Resolves when this process is to stop. */
export const stopped = (): Promise<void> =>
  new Promise((resolve) => {
    if (stopSignal.aborted) resolve();
    else stopSignal.addEventListener('abort', () => resolve(), { once: true });
  });
