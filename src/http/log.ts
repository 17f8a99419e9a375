import winston from 'winston';
import { logLevel } from '../keeper/log/index.js';

/** JSON lines on standard error, of the same shape as the keeper's. Never a secret, never an account. */
export const log = winston.createLogger({
  level: logLevel,
  format: winston.format.combine(winston.format.timestamp(), winston.format.json()),
  transports: [new winston.transports.Stream({ stream: process.stderr })],
});
