import { readFileSync, statSync } from 'node:fs';
import type { Server } from 'node:https';
import type { SecureContextOptions } from 'node:tls';
import { type Config, certificatesIn } from '../config/index.js';
import { log } from './log.js';
import { certificateEnd } from './metrics.js';

type Tls = NonNullable<Config['tls']>;

const LOOK_MS = 60_000;
/** A certificate that ends within this time is warned about: the time of the rule BkvCertificateEndsSoon. */
const SOON_MS = 14 * 86_400_000;

/** When all certificates of a file are good, milliseconds since 1970. */
interface Period {
  readonly of: 'server' | 'client CA';
  readonly file: string;
  readonly from: number;
  readonly until: number;
}

/** What a server with TLS serves. */
export interface Certificates {
  readonly context: SecureContextOptions;
  readonly periods: readonly Period[];
  /** changes when the files do */
  readonly stamp: string;
}

const stampOf = ({ cert, key, clientCa }: Tls): string =>
  [cert, key, clientCa].map((path) => path && statSync(path).mtimeMs).join();

function periodOf(of: Period['of'], file: string, pem: Buffer): Period {
  const certificates = certificatesIn(pem);
  return {
    of,
    file,
    from: Math.max(...certificates.map(({ validFrom }) => Date.parse(validFrom))),
    until: Math.min(...certificates.map(({ validTo }) => Date.parse(validTo))),
  };
}

/** @throws Error when a file cannot be read */
export function readCertificates(tls: Tls): Certificates {
  // Before the files: what changes while they are read is seen at the next look.
  const stamp = stampOf(tls);
  const [cert, ca] = [readFileSync(tls.cert), tls.clientCa && readFileSync(tls.clientCa)];
  return {
    context: { minVersion: 'TLSv1.2', cert, key: readFileSync(tls.key), ...(ca && { ca }) },
    periods: [
      periodOf('server', tls.cert, cert),
      ...(ca ? [periodOf('client CA', tls.clientCa as string, ca)] : []),
    ],
    stamp,
  };
}

const isGood = ({ from, until }: Period): boolean => Date.now() >= from && Date.now() < until;

const inWords = ({ from, until }: Period): string =>
  `valid from ${new Date(from).toISOString()} until ${new Date(until).toISOString()}`;

/** Logs what is wrong with certificates, each thing once. */
class Reports {
  #told = new Set<string>();

  on(periods: readonly Period[]): void {
    const known = this.#told;
    this.#told = new Set();
    for (const period of periods) {
      if (isGood(period) && period.until - Date.now() > SOON_MS) continue;
      const [level, message] = isGood(period)
        ? (['warn', 'a certificate ends soon'] as const)
        : (['error', 'a certificate is not valid now, and clients refuse it'] as const);
      const line = `${message}: ${period.file} ${inWords(period)}`;
      this.#told.add(line);
      if (!known.has(line)) log[level](message, { file: period.file, validity: inWords(period) });
    }
  }
}

/**
 * Makes a server read its certificates again if they have changed: at SIGHUP, and once a minute. The old ones
 * go on while the new ones are of no use, or are not valid and the old ones are. A server whose own are not
 * valid serves all the same: the clock of this machine may be wrong, and clients decide.
 */
export function renewCertificates(server: Server, tls: Tls, first: Certificates): void {
  let served = first;
  const reports = new Reports();
  const tell = () => {
    for (const { of, until } of served.periods) certificateEnd.set({ certificate: of }, until / 1000);
    reports.on(served.periods);
  };
  const look = () => {
    try {
      if (stampOf(tls) === served.stamp) return;
      const next = readCertificates(tls);
      const bad = next.periods.find((period) => !isGood(period));
      if (bad && served.periods.every(isGood)) throw new Error(`${bad.file} is ${inWords(bad)}`);
      server.setSecureContext(next.context);
      served = next;
      log.info('certificate read again');
    } catch (error) {
      log.error('the new certificate is of no use, and the old one goes on', {
        reason: (error as Error).message,
      });
    } finally {
      tell();
    }
  };
  tell();
  process.on('SIGHUP', look);
  setInterval(look, LOOK_MS).unref();
}
