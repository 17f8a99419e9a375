import { createCipheriv } from 'node:crypto';

/** Bytes that a seed decides, one after the other. */
export function randomStream(seed: number): (length: number) => Buffer {
  const cipher = createCipheriv('aes-256-ctr', Buffer.alloc(32, String(seed)), Buffer.alloc(16));
  return (length) => cipher.update(Buffer.alloc(length));
}
