export { type AuditHead, type AuditKey, AuditLog } from './audit.js';
export { auditKey } from './key.js';
export { type AuditVerdict, verifyAudit } from './verify.js';
