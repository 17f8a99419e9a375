import { KEY_LABELS } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';
import type { AuditHead, AuditKey } from './audit.js';

const LABEL = 'bkv.audit.head.';

/** The audit log's key and heads in a token: an HMAC key, and a small data object for each log. */
export const auditKey = (token: Pick<Token, 'call'>): AuditKey => ({
  mac: (data) => token.call('hmac', KEY_LABELS.audit, data),
  heads: async () =>
    (await token.call('listData', LABEL)).map(
      ({ value }) => JSON.parse(Buffer.from(value).toString()) as AuditHead,
    ),
  keepHead: async (head) => {
    const label = LABEL + head.log;
    const before = await token.call('listData', label);
    const handles = before.map(({ handle }) => handle);
    await token.call('replaceData', label, Buffer.from(JSON.stringify(head)), handles);
  },
});
