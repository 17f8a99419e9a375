export { AuditLog, type AuditVerdict, verifyAudit } from './audit.js';
export { auditKey } from './key.js';
