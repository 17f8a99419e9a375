import { isatty } from 'node:tty';

const stopping = new AbortController();
const hurrying = new AbortController();

/** Aborts when this process is to stop: see {@link listenForStop}. */
export const stopSignal: AbortSignal = stopping.signal;

/** Aborts when this process is to stop without waiting for anybody: it was told a second time, or its parent has ended. */
export const hurrySignal: AbortSignal = hurrying.signal;

/**
 * Has {@link stopSignal} abort at SIGTERM, when the parent ends, and, in a process without a parent of ours, at SIGINT and
 * when the terminal goes away. A terminal sends its signals to all processes at once; then the supervisor alone decides
 * their order.
 */
export function listenForStop(): void {
  const stop = () => (stopSignal.aborted ? hurrying : stopping).abort();
  process.on('SIGTERM', stop);
  process.on('SIGINT', process.send ? () => undefined : stop);
  process.on('disconnect', () => {
    stopping.abort();
    hurrying.abort();
  });
  process.on('SIGHUP', process.send ? () => undefined : whenTerminalIsGone(stop));
}

const STDERR = 2;

/** SIGHUP says that the terminal has gone away, or has the HTTP side read its certificates again and ends nothing. */
function whenTerminalIsGone(stop: () => void): () => void {
  const hadTerminal = isatty(STDERR);
  return () => {
    if (!hadTerminal || isatty(STDERR)) return;
    // Node.js aborts when it ends without the terminal that it began with.
    process.once('exit', () => {
      process.removeAllListeners('SIGHUP');
      process.kill(process.pid, 'SIGHUP');
    });
    stop();
  };
}

/** Resolves when this process is to stop. */
export const stopped = (): Promise<void> => aborted(stopSignal);

/** Resolves when the signal aborts. */
export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
