import { libc, once } from './libc.js';

/** Linux: seeks to where the next content begins. */
const SEEK_DATA = 3;

const seek = once(
  () =>
    libc()?.call('int64_t lseek(int file, int64_t offset, int whence)') as
      | ((file: number, offset: number, whence: number) => number)
      | undefined,
);

/**
 * Whether `length` bytes of an open file from `offset` on are a hole, which needs no reading. If the system
 * cannot tell, they are not.
 */
export function isHole(file: number, offset: number, length: number): boolean {
  const content = seek()?.(file, offset, SEEK_DATA) ?? offset;
  // There is no content after the last one.
  return content < 0 ? libc()?.error() === 'ENXIO' : content >= offset + length;
}
