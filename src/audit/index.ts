export { type AuditHead, AuditLog, type Verdict, verifyAudit } from './audit.js';
