import type { RequestHandler } from 'express';

/**
 * Removes ports from X-Forwarded-For. Some load balancers add them, and then each connection would count as
 * an address of its own.
 */
export const withoutPorts: RequestHandler = ({ headers }, _response, next) => {
  const forwarded = headers['x-forwarded-for'];
  if (forwarded !== undefined)
    headers['x-forwarded-for'] = [forwarded].flat().join().split(',').map(addressOf).join(', ');
  next();
};

const addressOf = (text: string): string =>
  text
    .trim()
    .replace(/^\[([^\]]+)\](:\d+)?$/, '$1')
    .replace(/^(\d+(\.\d+){3}):\d+$/, '$1');
