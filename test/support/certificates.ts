import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const DAY_MS = 86_400_000;

/** Only `openssl ca` takes the dates of a certificate in every version. */
const CA = `[ca]
default_ca = it
[it]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
`;

export interface Wanted {
  readonly name: string;
  /** files that are written, PEM */
  readonly cert: string;
  readonly key: string;
  /** days from now; the past is negative */
  readonly from?: number;
  readonly until?: number;
}

/** Makes a certificate that signs itself. @returns its end, seconds since 1970 */
export function makeCertificate({ name, cert, key, from = -1, until = 90 }: Wanted): number {
  const folder = mkdtempSync(join(tmpdir(), 'bkv-ca-'));
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  const seconds = (days: number) => Math.floor((Date.now() + days * DAY_MS) / 1000);
  const date = (at: number) => new Date(at * 1000).toISOString().replace(/\.000|[-:T]/g, '');
  const end = seconds(until);
  try {
    writeFileSync(join(folder, 'conf'), CA);
    writeFileSync(join(folder, 'index'), '');
    openssl(
      ...['req', '-new', '-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'],
      ...['-subj', `/CN=${name}`, '-keyout', key, '-out', 'request'],
    );
    openssl(
      ...['ca', '-batch', '-selfsign', '-notext', '-config', 'conf', '-keyfile', key, '-in', 'request'],
      ...['-startdate', date(seconds(from)), '-enddate', date(end), '-out', cert],
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
  return end;
}
