/**
 * What a line has besides its message. Never a secret, and never a plain account id: the vault gives accounts
 * names of its own.
 */
export type Details = Readonly<Record<string, unknown>>;
type AuditSink = (event: string, details: Details) => void;

const LEVELS = ['error', 'warn', 'info', 'debug'] as const;
type Level = (typeof LEVELS)[number];

const wanted = process.env.BKV_LOG_LEVEL ?? 'info';
const isLevel = (word: string): word is Level => (LEVELS as readonly string[]).includes(word);

/** The lowest level that is written: BKV_LOG_LEVEL, or `info` if that is unset or not a level. */
export const logLevel: Level = isLevel(wanted) ? wanted : 'info';
const shown = new Set<Level>(LEVELS.slice(0, LEVELS.indexOf(logLevel) + 1));
let auditSink: AuditSink | undefined;

// If the reader of the log goes away, the vault must not stop.
process.stderr.on('error', () => undefined);

let gathered = '';

function flush(): void {
  if (gathered) process.stderr.write(gathered);
  gathered = '';
}
process.on('exit', flush);

/**
 * Lines of one turn of the event loop are written together, because a system call costs more than a line.
 * Errors are written at once.
 */
function write(level: Level, message: string, details: Details): void {
  if (!shown.has(level)) return;
  if (!gathered) setImmediate(flush);
  const timestamp = new Date().toISOString();
  gathered += `${JSON.stringify({ ...details, level, message, timestamp })}\n`;
  if (level === 'error' || level === 'warn') flush();
}

/** JSON lines on standard error: `level`, `message`, `timestamp`, and the details, from {@link logLevel} on. */
export const log = {
  error: (message: string, details: Details = {}) => write('error', message, details),
  warn: (message: string, details: Details = {}) => write('warn', message, details),
  info: (message: string, details: Details = {}) => write('info', message, details),
  debug: (message: string, details: Details = {}) => write('debug', message, details),
};

if (wanted !== logLevel)
  log.warn('BKV_LOG_LEVEL is not a level', { given: wanted, levels: LEVELS, used: logLevel });

/** Writes an event for auditors to the log, and to the sink of {@link auditTo}. */
export function audit(event: string, details: Details = {}, level: 'info' | 'error' = 'info'): void {
  write(level, event, { audit: true, ...details });
  auditSink?.(event, details);
}

/** From now on events of {@link audit} also go to this sink, and to no earlier one. @returns a function that ends this */
export function auditTo(sink: AuditSink): () => void {
  auditSink = sink;
  return () => {
    if (auditSink === sink) auditSink = undefined;
  };
}
