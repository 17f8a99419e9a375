import { join } from 'node:path';
import { auditKey, verifyAudit } from '../keeper/audit/index.js';
import { TokenPool } from '../keeper/pool/index.js';
import { endAs } from './errors.js';
import { profileOf, type TokenFlags } from './profile.js';
import { counted, report } from './report.js';

/** Checks an audit log. Ends with exit code 1 when something is wrong with it. */
export async function auditVerify(
  flags: TokenFlags,
  file: string | undefined,
  json?: boolean,
): Promise<void> {
  const token = await TokenPool.open({ ...profileOf(flags), sessions: 1 });
  try {
    const path = file ?? join(flags.data, 'audit.log');
    const { lines, seals, unsealed, faults, others } = await verifyAudit(path, auditKey(token));
    const logs = others.map(({ log, n }) => ({ log, lines: n }));
    report(json, { log: path, lines, seals, unsealed, faults, others: logs }, () => [
      `${path}: ${counted(lines, 'line')}, ${counted(seals, 'seal')} of the token, ${counted(unsealed, 'line')} after the last`,
      ...logs.map((other) => `the token has also seen ${other.lines} lines of another log, ${other.log}`),
      ...(faults.length > 0 ? faults : ['it is whole']),
    ]);
    if (faults.length > 0) endAs('failed');
  } finally {
    await token.close();
  }
}
