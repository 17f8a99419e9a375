import { audit, log } from '../log/index.js';
import { keysExportable, ledgerRefused } from '../metrics/index.js';
import { type Begun, LEDGER_PREFIX } from '../pkcs11/index.js';

/** Reports a token from which keys can be taken away, and objects that others put there: once, until that changes. */
export class ExposureReport {
  #told = '';

  tell({ exposure: { files, ways }, strange }: Begun): void {
    keysExportable.set({ way: 'files' }, files ? 1 : 0);
    keysExportable.set({ way: 'module' }, ways.length > 0 ? 1 : 0);
    const ofLedger = strange.filter((label) => label.startsWith(LEDGER_PREFIX));
    ledgerRefused.set({ reason: 'not private' }, ofLedger.length);
    const found = JSON.stringify({ files, ways, strange });
    if (found === this.#told) return;
    this.#told = found;
    if (files)
      log.warn('unsafe: keys lie in files. Whoever has the PIN and the files, or the process, has the keys');
    if (ways.length > 0)
      log.warn('unsafe: whoever has the PIN can take keys away', { ways, remedy: 'bkv doctor' });
    if (strange.length > 0) audit('strange objects in the token', { labels: strange }, 'error');
  }
}
