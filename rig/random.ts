import { createCipheriv, createHash } from 'node:crypto';

/** The seed of a run's random data. Suites with random data print it, and BKV_SEED sets it. */
export const seed = Number(process.env.BKV_SEED ?? Date.now() % 2 ** 31);

/** A stream of bytes that a seed determines. */
export function randomStream(from: string | number): (length: number) => Buffer {
  const key = createHash('sha256').update(String(from)).digest();
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  return (length) => cipher.update(Buffer.alloc(length));
}

/** Numbers from 0 to below 1 that a seed determines. */
export function randomNumbers(from: string | number): () => number {
  const bytes = randomStream(from);
  return () => bytes(4).readUInt32BE() / 2 ** 32;
}
