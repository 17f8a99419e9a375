import { Counter, type Described, Gauge, Histogram, type Metric } from './metric.js';

const metrics: Metric[] = [];

function keep<M extends Metric>(metric: M): M {
  metrics.push(metric);
  return metric;
}

/** Everything that the keeper tells Prometheus. */
export const keeperMetrics: readonly Metric[] = metrics;

/** All of it in the text format of Prometheus (version 0.0.4). */
export const renderMetrics = (): string => metrics.map((metric) => metric.render()).join('');

const counter = (described: Described): Counter => keep(new Counter(described));
const gauge = (described: Described): Gauge => keep(new Gauge(described));
const histogram = (described: Described & { readonly buckets: readonly number[] }): Histogram =>
  keep(new Histogram(described));

const SECONDS = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];

export const lockouts = counter({
  name: 'bkv_lockouts_total',
  help: 'Accounts whose attempts were spent and whose key was made unreachable.',
});

export const tamperedRecords = counter({
  name: 'bkv_tampered_records_total',
  help: 'Database rows refused because they are not what the token vouched for.',
});

export const pendingLogins = gauge({
  name: 'bkv_pending_recoveries',
  help: 'Recoveries whose evaluation was sent and whose KE3 has not come.',
});

export const tokenOperations = histogram({
  name: 'bkv_token_operation_duration_seconds',
  help: 'Time inside the PKCS#11 module by operation, mechanism and outcome, without queueing.',
  labelNames: ['operation', 'mechanism', 'outcome'],
  buckets: SECONDS,
});

export const tokenSessions = gauge({
  name: 'bkv_token_sessions',
  help: 'Sessions by state: open, busy, open on a standby token; and calls that wait for a session.',
  labelNames: ['state'],
});

export const onDuty = gauge({
  name: 'bkv_on_duty',
  help: '1 while this daemon answers; 0 while it stands by for another on the same database and token.',
});

export const tokenUp = gauge({
  name: 'bkv_token_up',
  help: '1 while the daemon is logged in to its token.',
});

export const keysExportable = gauge({
  name: 'bkv_token_keys_exportable',
  help: '1 if whoever has the PIN can take keys away from the token: through the module (tried when sessions open), or from files (if keys are kept in files).',
  labelNames: ['way'],
});

export const tokenReopened = counter({
  name: 'bkv_token_reopened_total',
  help: 'Times that the token was lost and the daemon logged in again.',
});

export const ledgerBatch = histogram({
  name: 'bkv_ledger_batch_changes',
  help: 'Requests that shared one journal object.',
  buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256],
});

export const ledgerCells = gauge({
  name: 'bkv_ledger_cells',
  help: 'Cells of the retry-counter ledger by state.',
  labelNames: ['state'],
});

export const ledgerRefused = gauge({
  name: 'bkv_ledger_refused_objects',
  help: "Objects in the token that look like the ledger's but were skipped when it was read, by reason.",
  labelNames: ['reason'],
});

export const ledgerJournal = gauge({
  name: 'bkv_ledger_journal_objects',
  help: 'Journal objects in the token that are not folded into pages yet.',
});

export const shreddedPages = counter({
  name: 'bkv_shredded_pages_total',
  help: 'Page keys destroyed after the living records of their page had been moved to a fresh key.',
});

export const lostRecords = gauge({
  name: 'bkv_lost_records',
  help: 'Live counters whose record the database lacked, or the token did not vouch for, at the last start or sweep.',
});

export const tokenBackup = gauge({
  name: 'bkv_token_backup_timestamp_seconds',
  help: 'When the backup of the token was last written, seconds since 1970; 0 if none is kept.',
});

export const tokenBackupFailures = counter({
  name: 'bkv_token_backup_failures_total',
  help: 'Times that the backup of the token could not be written: newer page keys are in no backup.',
});

export const auditEntries = gauge({
  name: 'bkv_audit_lines',
  help: 'Lines of the audit log. A copy of this number elsewhere shows whether the end of the log was cut off.',
});

export const auditFailures = counter({
  name: 'bkv_audit_failures_total',
  help: 'Times that the audit log could not be written to the disk, or its head to the token.',
});

export const attempts = counter({
  name: 'bkv_attempts_total',
  help: 'Attempts by their end: proven, wrong, never ended by the client, or given back because nothing left the vault.',
  labelNames: ['end'],
});
for (const end of ['proven', 'failed', 'expired', 'given back']) attempts.inc({ end }, 0);

export const keeperCalls = counter({
  name: 'bkv_keeper_calls_total',
  help: "Calls on the keeper's sockets, by method and outcome.",
  labelNames: ['method', 'outcome'],
});

export const keeperDisconnects = counter({
  name: 'bkv_keeper_disconnects_total',
  help: 'Callers that the keeper hung up on, because they sent what its schema does not know or were too many.',
});
