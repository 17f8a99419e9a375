import { isatty } from 'node:tty';

const stopping = new AbortController();
const hurrying = new AbortController();

/** Aborts when this process is to stop: see {@link listenForStop}. */
export const stopSignal: AbortSignal = stopping.signal;

/**
 * Aborts when this process is to stop without waiting for anybody, because it was told a second time or its
 * parent has ended.
 */
export const hurrySignal: AbortSignal = hurrying.signal;

/**
 * Makes {@link stopSignal} abort at SIGTERM, and when the parent ends. In a process without a parent of ours,
 * it also aborts at SIGINT and when the terminal goes away. A terminal sends its signals to all processes at
 * once, so only the supervisor reacts to those, and decides the order of stopping.
 */
export function listenForStop(): void {
  const stop = () => (stopSignal.aborted ? hurrying : stopping).abort();
  process.on('SIGTERM', stop);
  process.on('SIGINT', process.send ? () => undefined : stop);
  const orphaned = () => {
    stopping.abort();
    hurrying.abort();
  };
  process.on('disconnect', orphaned);
  // The parent may have ended while this program was being loaded.
  if (process.connected === false) orphaned();
  process.on('SIGHUP', process.send ? () => undefined : whenTerminalIsGone(stop));
  // A parent that has ended meanwhile need not know.
  process.send?.(HEARS_SIGNALS, undefined, undefined, () => undefined);
}

/** A process says this to its parent: until then, a signal ends it. */
const HEARS_SIGNALS = 'signals are heard';

/** Whether a child process says by this message that signals no longer end it unheard. */
export const hearsSignals = (message: unknown): boolean => message === HEARS_SIGNALS;

const STDERR = 2;

/**
 * SIGHUP means that the terminal has gone away. Without a terminal it only makes the HTTP side read its
 * certificates again.
 */
function whenTerminalIsGone(stop: () => void): () => void {
  const hadTerminal = isatty(STDERR);
  return () => {
    if (!hadTerminal || isatty(STDERR)) return;
    // Node.js aborts at its end if the terminal that it began with is gone.
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
