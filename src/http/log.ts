import winston from 'winston';

/** JSON lines on standard error, of the same shape as the keeper's. Never a secret, never an account. */
export const log = winston.createLogger({
  level: process.env.BKV_LOG_LEVEL ?? 'info',
  format: winston.format.combine(winston.format.timestamp(), winston.format.json()),
  transports: [new winston.transports.Stream({ stream: process.stderr })],
});
