import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exportJWK, SignJWT } from 'jose';
import { parse } from 'yaml';
import { z } from 'zod';
import { UsageError } from '../cli/terminal.js';
import { version } from '../cli/version.js';
import { adminApp, app, authenticator, listen, stop } from '../http/index.js';
import { AuditLog, auditKey } from '../keeper/audit/index.js';
import { MAX_ATTEMPTS } from '../keeper/ledger/index.js';
import { auditTo, log } from '../keeper/log/index.js';
import { initializeToken, inspectToken, KEY_LABELS, loadProfile, Token } from '../keeper/pkcs11/index.js';
import { lead, Records } from '../keeper/records/index.js';
import { Duty, Vault } from '../keeper/vault/index.js';

const address = z.string().regex(/^(\[[^\]]+\]|[^:]+):\d+$/, 'must be host:port');

const configSchema = z.strictObject({
  profile: z.string().optional(),
  /** URL of a PostgreSQL database; without one an SQLite file in the data folder */
  database: z.string().optional(),
  listen: address.default('127.0.0.1:8200'),
  admin: address.default('127.0.0.1:8201'),
  maxAttempts: z.int().min(1).max(MAX_ATTEMPTS).default(10),
  exchangeSeconds: z.number().min(1).max(3600).default(60),
  /** file that always holds a backup of the token */
  tokenBackup: z.string().optional(),
  shredHours: z.number().min(0).max(500).default(24),
  rateLimit: z
    .strictObject({ account: z.int().min(1).default(60), address: z.int().min(1).default(600) })
    .default({ account: 60, address: 600 }),
  /** proxies in front, whose X-Forwarded-For names the client */
  trustedProxies: z.array(z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()])).default([]),
  tls: z.strictObject({ cert: z.string(), key: z.string(), clientCa: z.string().optional() }).optional(),
  auth: z.strictObject({ jwks: z.string(), issuer: z.string(), audience: z.string() }).optional(),
});

const ISSUER = 'bkv-embedded';
const AUDIENCE = 'backup-key-vault';
const root = fileURLToPath(new URL('../../../', import.meta.url));
export const EMBEDDED_PROFILE = join(root, 'hsm-config/softhsm2.yaml');

/** Reads a daemon's configuration (YAML). @throws UsageError naming the field */
function loadConfig(path: string | undefined) {
  const text = path === undefined ? '' : readFileSync(path, 'utf8');
  const parsed = configSchema.safeParse(parse(text) ?? {});
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new UsageError(`${path}: ${issue?.path.join('.') || 'configuration'}: ${issue?.message}`);
}

/** Makes what the embedded default lacks in its data folder: a SoftHSM2 token with a random PIN, and a JWT issuer. */
async function prepareEmbedded(data: string): Promise<void> {
  mkdirSync(join(data, 'tokens'), { recursive: true, mode: 0o700 });
  const conf = join(data, 'softhsm2.conf');
  if (!existsSync(conf))
    await writeFileAtomic(conf, `directories.tokendir = ${join(data, 'tokens')}\nlog.level = ERROR\n`);
  process.env.SOFTHSM2_CONF ??= conf;
  for (const name of ['token-pin', 'token-so-pin']) {
    if (!existsSync(join(data, name)))
      await writeFileAtomic(join(data, name), randomBytes(16).toString('base64url'));
  }
}

async function embeddedAuth(data: string) {
  const keyPath = join(data, 'issuer.key.pem');
  const jwks = join(data, 'issuer.jwks.json');
  if (!existsSync(keyPath)) {
    // The vault verifies far more often than the issuer signs: RSA is the cheapest to verify.
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    // The private key last: it says that both are there.
    await writeFileAtomic(
      jwks,
      JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), alg: 'RS256', use: 'sig' }] }),
    );
    await writeFileAtomic(keyPath, privateKey.export({ type: 'pkcs8', format: 'pem' }) as string);
  }
  return { jwks, issuer: ISSUER, audience: AUDIENCE };
}

/** A JWT of the embedded issuer, for trying the vault out. */
export async function embeddedJwt(data: string, account: string, seconds: number): Promise<string> {
  const { createPrivateKey } = await import('node:crypto');
  const path = join(data, 'issuer.key.pem');
  if (!existsSync(path)) throw new UsageError(`${data} has no embedded issuer; run bkv serve first`);
  return new SignJWT()
    .setProtectedHeader({ alg: 'RS256' })
    .setSubject(account)
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setIssuedAt()
    .setExpirationTime(Math.floor(Date.now() / 1000) + seconds)
    .sign(createPrivateKey(readFileSync(path)));
}

/** Keeps secrets of this process out of core dumps, and the inspector from being opened by a signal. */
export function harden(): void {
  process.on('SIGUSR1', () => undefined);
  if (/^Max core file size +0 +0 /m.test(readFileSync('/proc/self/limits', 'utf8'))) return;
  try {
    execFileSync('prlimit', ['--pid', String(process.pid), '--core=0:0'], { stdio: 'ignore' });
  } catch {
    log.warn('core dumps could not be turned off (prlimit of util-linux is missing); run with LimitCORE=0');
  }
}

/** Runs the daemon until SIGINT or SIGTERM. */
export async function serve(options: {
  config?: string;
  data: string;
  listen?: string;
  admin?: string;
}): Promise<void> {
  harden();
  const config = loadConfig(options.config);
  const data = resolve(options.data);
  process.env.BKV_DATA = data;
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const embedded = config.profile === undefined;
  if (embedded) await prepareEmbedded(data);
  const profile = loadProfile(config.profile ?? EMBEDDED_PROFILE);
  if (embedded) initializeToken(profile, readFileSync(join(data, 'token-so-pin'), 'utf8'));
  inspectToken(profile);

  const token = await Token.open(profile);
  // A thread that hangs in the module keeps the process from ending, and a daemon that stands by from taking over.
  void token.hung.then(() => process.kill(process.pid, 'SIGKILL'));
  const serverPublicKey = Buffer.from(await token.call('publicKey', KEY_LABELS.static)).toString('base64url');
  const database = config.database ?? join(data, 'records.sqlite');
  const records = await Records.open(database);
  const { tokenBackup } = config;
  const duty = new Duty({
    lead: (signal, onWait) => lead(database, signal, onWait),
    open: async () => {
      await records.prepare();
      const endAudit = await beginAudit(join(data, 'audit.log'), token);
      try {
        const vault = await Vault.open(token, records, {
          maxAttempts: config.maxAttempts,
          exchangeLifetime: config.exchangeSeconds * 1000,
          ...(tokenBackup !== undefined && {
            keepBackup: (backup: string) => writeFileAtomic(tokenBackup, backup),
          }),
        });
        return { vault, close: () => vault.close().finally(endAudit) };
      } catch (error) {
        await endAudit();
        throw error;
      }
    },
  });
  await duty.start();
  const shredding =
    config.shredHours > 0 && setInterval(() => void shredEnded(duty), config.shredHours * 3_600_000).unref();
  const keeping = setInterval(() => void keepBackup(duty), 3_600_000).unref();
  const api = app(duty, authenticator(config.auth ?? (await embeddedAuth(data))), {
    rateLimit: config.rateLimit,
    trustedProxies: config.trustedProxies,
    version,
  });
  const listening = await listen(api, {
    ...hostPort(options.listen ?? config.listen),
    ...(config.tls && { tls: config.tls as { cert: string; key: string } }),
  });
  const admin = await listen(adminApp(duty), hostPort(options.admin ?? config.admin));
  // Before it says that it serves: who reads that may stop it at once.
  const signalled = new Promise<void>((done) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => done());
  });
  log.info('serving', {
    url: listening.url,
    admin: admin.url,
    serverPublicKey,
  });

  try {
    await Promise.race([signalled, duty.ended]);
  } finally {
    log.info('stopping');
    if (shredding) clearInterval(shredding);
    clearInterval(keeping);
    await Promise.all([stop(listening.server), stop(admin.server)]);
    await duty.close();
    await records.close();
    await token.close();
  }
}

/** Has audit entries written to a file. @returns what ends that */
async function beginAudit(path: string, token: Token): Promise<() => Promise<void>> {
  const { log: auditLog, fault } = await AuditLog.open(path, auditKey(token));
  const endAudit = auditTo((event, details) => auditLog.append(event, details));
  if (fault) log.error('the end of the audit log is missing', { fault });
  return async () => {
    endAudit();
    await auditLog.close();
  };
}

async function shredEnded(duty: Duty): Promise<void> {
  // A daemon that stands by, or whose token is away, leaves it to the next time.
  if (!duty.trouble) await duty.vault.shred({}).catch(() => undefined);
}

/** Accounts that have ended since are in it then. */
async function keepBackup(duty: Duty): Promise<void> {
  if (!duty.trouble) await duty.vault.keepBackup();
}

/** Writes a file for its owner alone, whole or not at all. */
async function writeFileAtomic(path: string, text: string): Promise<void> {
  const file = await open(`${path}.tmp`, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.datasync();
  } finally {
    await file.close();
  }
  await rename(`${path}.tmp`, path);
}

function hostPort(text: string): { host: string; port: number } {
  const at = text.lastIndexOf(':');
  const port = Number(text.slice(at + 1));
  if (at < 1 || !Number.isInteger(port) || port < 0 || port > 65_535)
    throw new UsageError(`"${text}" is not host:port`);
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ''), port };
}
