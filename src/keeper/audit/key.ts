import { KEY_LABELS } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';
import type { AuditHead, AuditKey } from './audit.js';

const LABEL = 'bkv.audit.head.';

/** The audit log's key and heads in a token: an HMAC key, and a small data object for each log. */
export const auditKey = (token: Pick<Token, 'call'>): AuditKey => ({
  mac: (data) => token.call('hmac', KEY_LABELS.audit, data),
  heads: async () => newest((await token.call('listData', LABEL)).flatMap(({ value }) => read(value))),
  keepHead: async (head) => {
    const label = LABEL + head.log;
    const before = await token.call('listData', label);
    const handles = before.map(({ handle }) => handle);
    await token.call('replaceData', label, Buffer.from(JSON.stringify(head)), handles);
  },
});

/** Through the module only the vault writes here, but a file of SoftHSM2 can be altered without the PIN. */
function read(value: Uint8Array): AuditHead | [] {
  try {
    const head = JSON.parse(Buffer.from(value).toString()) as AuditHead;
    return typeof head.log === 'string' && Number.isSafeInteger(head.n) ? head : [];
  } catch {
    return [];
  }
}

/** The newest head of each log: an older one that somebody put back does not count. */
function newest(heads: readonly AuditHead[]): Map<string, AuditHead> {
  const sorted = heads.toSorted((a, b) => a.n - b.n);
  return new Map(sorted.map((head) => [head.log, head]));
}
