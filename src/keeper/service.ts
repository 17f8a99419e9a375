import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { authOf, type Config, embeddedFiles } from '../config/index.js';
import {
  closeAll,
  hurrySignal,
  makeFolder,
  stopped,
  stopSignal,
  useProxies,
  writeFileAtomic,
} from '../process/index.js';
import { audienceOf } from '../protocol/terms.js';
import { AccountLimit, authenticator, isUrl } from './access/index.js';
import { AuditLog, auditKey } from './audit/index.js';
import { keeperApi } from './keeper.js';
import { auditTo, log } from './log/index.js';
import { renderMetrics } from './metrics/index.js';
import { renderProcess } from './metrics/process.js';
import {
  embeddedProfile,
  hasToken,
  initializeToken,
  KEY_LABELS,
  loadProfile,
  type Profile,
  TokenError,
} from './pkcs11/index.js';
import { type Token, TokenPool } from './pool/index.js';
import { dutyLock, Records } from './records/index.js';
import { ADMIN, API, type Handlers, SOCKETS, SocketServer } from './socket/index.js';
import { Duty, type Shredded, Vault } from './vault/index.js';

/** The connections of the workers, and as many again for workers that are being started to replace others. */
const connectionsOf = (workers: number): number => 2 * workers + 2;
/** Calls that one connection may have open, and calls of all that run at the same time. */
const OPEN = 1024;
const RUNNING = 1024;
const DRAIN_MS = 10_000;
const HOUR_MS = 3_600_000;

/** Opens token and database, and answers on the sockets until the process is to stop. @throws CodedError */
export async function keep(config: Config, data: string, sockets: string): Promise<void> {
  const issuer = authOf(config, data);
  if (isUrl(issuer.jwks)) await useProxies();
  const profile = profileOf(config, data);
  const token = new TokenPool(profile);
  const closing: (() => Promise<void>)[] = [() => token.close()];
  try {
    await Promise.race([token.open(), stopped()]);
    if (stopSignal.aborted) return;
    const serverPublicKey = await token.call('publicKey', KEY_LABELS.static);
    const name = Buffer.from(serverPublicKey).toString('base64url');
    const authenticate = authenticator({ ...issuer, audience: audienceOf(name) });
    // What `bkv jwt` makes access tokens for.
    await writeFileAtomic(embeddedFiles(data).identity, name);
    const database = config.database ?? join(data, 'records.sqlite');
    const records = await Records.open(database);
    closing.unshift(() => records.close());
    const duty = new Duty({
      takeLock: dutyLock(database),
      open: () => openVault(config, data, token, records, profile.objectBytes),
    });
    closing.unshift(() => duty.close());
    await duty.start();
    const limit = new AccountLimit(config.rateLimit.account);
    const at = (name: string, workers: number) => ({
      ...socketAt(join(sockets, name)),
      connections: connectionsOf(workers),
      open: OPEN,
      running: RUNNING,
    });
    const identity = {
      serverPublicKey,
      maxAttempts: config.maxAttempts,
      exchangeSeconds: config.exchangeSeconds,
    };
    const handlers = keeperApi(duty, authenticate, limit, identity);
    const api = await SocketServer.listen(API, handlers, at(SOCKETS.api, config.httpWorkers));
    closing.unshift(() => api.close(DRAIN_MS));
    const admin = await SocketServer.listen(
      ADMIN,
      adminHandlers(duty, serverPublicKey),
      at(SOCKETS.admin, 1),
    );
    closing.unshift(() => admin.close(0));
    const endUpkeep = beginUpkeep(config, duty);
    closing.unshift(async () => endUpkeep());
    log.info('keeper ready', { standby: duty.trouble === 'standing by' });
    await Promise.race([stopped(), duty.ended]);
    await duty.drain(hurrySignal);
  } finally {
    log.info('keeper stopping');
    await closeAll(closing, ({ name, message }) => log.error('not closed', { error: name, reason: message }));
  }
}

/** A socket is for its owner alone, unless its folder already exists and lets a group in. */
function socketAt(path: string): { path: string; mode: number } {
  const folder = dirname(path);
  makeFolder(folder);
  return { path, mode: statSync(folder).mode & 0o070 ? 0o660 : 0o600 };
}

/** The profile; its token then has all its keys. */
function profileOf({ profile: path }: Config, data: string): Profile {
  const profile = path === undefined ? embeddedProfile(data) : loadProfile(path);
  if (path === undefined) {
    const { soPin, tokens } = embeddedFiles(data);
    if (hadToken(data) && !hasToken(profile))
      throw new TokenError(
        `the token of this vault is not in ${tokens}. Put the folder back; a new token would open nothing of it. Nothing was changed.`,
        'BKV_TOKEN',
      );
    // Needed only while the token lacks something.
    initializeToken(profile, existsSync(soPin) ? readFileSync(soPin, 'utf8') : '');
  }
  return profile;
}

/** Whether a keeper has opened a token in this data folder before. */
const hadToken = (data: string): boolean => existsSync(embeddedFiles(data).identity);

async function openVault(config: Config, data: string, token: Token, records: Records, objectBytes: number) {
  await records.prepare();
  const { log: auditLog, mark, end: endAudit } = await beginAudit(join(data, 'audit.log'), token);
  const { tokenBackup } = config;
  try {
    const vault = await Vault.open(token, records, {
      maxAttempts: config.maxAttempts,
      objectBytes,
      exchangeLifetime: config.exchangeSeconds * 1000,
      marks: mark ? [{ mark, keeper: 'the audit log' }] : [],
      ...(tokenBackup !== undefined && {
        keepBackup: (backup: string) => writeFileAtomic(tokenBackup, backup),
      }),
    });
    auditLog.carry(() => vault.mark());
    return { vault, close: () => vault.close().finally(endAudit) };
  } catch (error) {
    await endAudit();
    throw error;
  }
}

/** Writes audit entries to a file. @returns a function that ends this, and the newest mark in the file */
async function beginAudit(path: string, token: Token) {
  const { log: auditLog, fault, mark } = await AuditLog.open(path, auditKey(token));
  const end = auditTo((event, details) => auditLog.append(event, details));
  if (fault) log.error('the audit log is not as it was left', { fault });
  return {
    log: auditLog,
    mark,
    end: async () => {
      end();
      await auditLog.close();
    },
  };
}

const adminHandlers = (duty: Duty, serverPublicKey: Uint8Array): Handlers<typeof ADMIN> => ({
  // What a module says of its failure may be longer than a message of the socket.
  health: async () => ({ serverPublicKey, trouble: duty.trouble?.slice(0, 1000) }),
  metrics: async () => ({ page: renderMetrics() + renderProcess('keeper') }),
  backUp: async () => ({ backup: await duty.vault.backUp() }),
  shred: (options: { all: boolean; abandonLost: boolean }, tell: (page: Shredded) => void) =>
    duty.vault.shred(options, tell),
});

/** Does regular work while this keeper is on duty. @returns a function that ends this */
function beginUpkeep({ shredHours }: Config, duty: Duty): () => void {
  // A keeper that stands by, or whose token is away, tries again the next time. So does one whose work is not done yet.
  const onDuty = (work: () => Promise<unknown>) => {
    let running = false;
    return async () => {
      if (running || duty.trouble) return;
      running = true;
      try {
        await work();
      } catch {
        // The vault has logged why.
      } finally {
        running = false;
      }
    };
  };
  // The backup then knows which accounts have ended since.
  const timers = [
    setInterval(
      onDuty(() => duty.vault.keepBackup()),
      HOUR_MS,
    ),
  ];
  if (shredHours > 0)
    timers.push(
      setInterval(
        onDuty(() => duty.vault.shred({})),
        shredHours * HOUR_MS,
      ),
    );
  return () => timers.forEach(clearInterval);
}
