import { PAGE_CELLS } from '../keeper/ledger/index.js';
import { examine } from '../keeper/pkcs11/index.js';
import { tryThreads } from '../keeper/pool/index.js';
import { endAs } from './errors.js';
import { profileOf, type TokenFlags } from './profile.js';
import { report } from './report.js';

/** Prints what a token can do. Ends with exit code 1 when something is missing, 5 when something is unsafe. */
export async function doctor(flags: TokenFlags, objects: number, json?: boolean): Promise<void> {
  const profile = profileOf(flags);
  const findings = [...examine(profile, PAGE_CELLS, objects)];
  if (findings.some(({ name, result }) => name === 'session' && result === 'works'))
    findings.push(await tryThreads(profile));
  const has = (result: string) => findings.some((finding) => finding.result === result);
  report(json, { profile: profile.name, module: profile.module, findings }, () =>
    findings.map(
      ({ name, result, detail, ms }) =>
        `${result.padEnd(8)}${(ms === undefined ? '' : `${ms.toFixed(2)} ms`).padStart(12)}  ${name}${detail && `: ${detail}`}`,
    ),
  );
  endAs(has('unsafe') ? 'incomplete' : has('missing') ? 'failed' : 'done');
}
