import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** Everything the daemon tells Prometheus. Label values are closed sets; no account, address or secret among them. */
export const registry = new Registry();
collectDefaultMetrics({ register: registry, prefix: 'bkv_' });

const registers = [registry];
const FAST = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];

export const httpRequests = new Histogram({
  name: 'bkv_http_request_duration_seconds',
  help: 'Duration of an HTTP request by operation and status code.',
  labelNames: ['operation', 'status'],
  buckets: FAST,
  registers,
});

export const vaultOperations = new Counter({
  name: 'bkv_vault_operations_total',
  help: 'Registrations, recoveries, status reads and deletions, by outcome.',
  labelNames: ['operation', 'outcome'],
  registers,
});

export const lockouts = new Counter({
  name: 'bkv_lockouts_total',
  help: 'Accounts whose attempts were spent and whose key was made unreachable.',
  registers,
});

export const tamperedRecords = new Counter({
  name: 'bkv_tampered_records_total',
  help: 'Database rows refused because they are not what the token vouched for.',
  registers,
});

export const pendingLogins = new Gauge({
  name: 'bkv_pending_recoveries',
  help: 'Recoveries whose evaluation was sent and whose KE3 has not come.',
  registers,
});

export const tokenOperations = new Histogram({
  name: 'bkv_token_operation_duration_seconds',
  help: 'Time inside the PKCS#11 module by operation, its mechanism and outcome, queueing left out.',
  labelNames: ['operation', 'mechanism', 'outcome'],
  buckets: FAST,
  registers,
});

export const tokenSessions = new Gauge({
  name: 'bkv_token_sessions',
  help: 'Sessions open, of them on standby tokens, sessions busy, and calls waiting for one.',
  labelNames: ['state'],
  registers,
});

export const leading = new Gauge({
  name: 'bkv_on_duty',
  help: '1 while this daemon answers; 0 while it stands by for another on the same database and token.',
  registers,
});

export const tokenUp = new Gauge({
  name: 'bkv_token_up',
  help: '1 while the daemon is logged in to its token.',
  registers,
});

export const tokenReopened = new Counter({
  name: 'bkv_token_reopened_total',
  help: 'Times that the token was lost and the daemon logged in again.',
  registers,
});

export const ledgerBatch = new Histogram({
  name: 'bkv_ledger_batch_changes',
  help: 'Requests that shared one journal object.',
  buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256],
  registers,
});

export const ledgerSlots = new Gauge({
  name: 'bkv_ledger_slots',
  help: 'Slots of the retry-counter ledger by state.',
  labelNames: ['state'],
  registers,
});

export const ledgerJournal = new Gauge({
  name: 'bkv_ledger_journal_objects',
  help: 'Journal objects in the token that are not folded into pages yet.',
  registers,
});

export const shreddedPages = new Counter({
  name: 'bkv_shredded_pages_total',
  help: 'Wrapping keys destroyed after the living records of their page had been moved to a fresh one.',
  registers,
});

export const lostRecords = new Gauge({
  name: 'bkv_lost_records',
  help: 'Live counters whose record the database lacked, or the token did not vouch for, at the last sweep.',
  registers,
});

export const tokenBackup = new Gauge({
  name: 'bkv_token_backup_timestamp_seconds',
  help: 'When the backup of the token was last kept, seconds since 1970; 0 when none is.',
  registers,
});

export const tokenBackupFailures = new Counter({
  name: 'bkv_token_backup_failures_total',
  help: 'Times that the backup of the token could not be kept: newer wrapping keys are in no backup.',
  registers,
});

export const auditEntries = new Gauge({
  name: 'bkv_audit_lines',
  help: 'Lines of the audit log. Kept elsewhere, it witnesses that the end of the log was not cut off.',
  registers,
});

export const auditFailures = new Counter({
  name: 'bkv_audit_failures_total',
  help: 'Times that the audit log could not be written to the disk, or its head not to the token.',
  registers,
});

export const attempts = new Counter({
  name: 'bkv_attempts_total',
  help: 'Attempts by their end: the password was proven, was wrong, or the client never came back.',
  labelNames: ['end'],
  registers,
});
for (const end of ['proven', 'failed', 'expired']) attempts.inc({ end }, 0);
