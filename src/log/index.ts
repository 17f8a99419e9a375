import { createHash } from 'node:crypto';
import winston from 'winston';

/** JSON lines on standard error. Never a secret, never a plain account id: see {@link accountHash}. */
export const log = winston.createLogger({
  level: process.env.BKV_LOG_LEVEL ?? 'info',
  format: winston.format.combine(winston.format.timestamp(), winston.format.json()),
  transports: [new winston.transports.Stream({ stream: process.stderr })],
});

/** What stands for an account outside its requests: SHA-256 of its id, 64 hexadecimal digits. */
export const accountHash = (account: string): string =>
  createHash('sha256').update('bkv account\0').update(account).digest('hex');

/** Writes an event that an auditor asks about. */
export const audit = (event: string, details: { readonly [name: string]: string | number } = {}): void => {
  log.info(event, { audit: true, ...details });
};
