import { libc, once } from './libc.js';

/** Linux: where the next content begins. */
const SEEK_DATA = 3;

const seek = once(
  () =>
    libc()?.call('int64_t lseek(int file, int64_t offset, int whence)') as
      | ((file: number, offset: number, whence: number) => number)
      | undefined,
);

/**
 * Whether so many bytes of an open file, from an offset on, are a hole, which needs no reading. Where the system cannot
 * say they are none.
 */
export function isHole(file: number, offset: number, length: number): boolean {
  const content = seek()?.(file, offset, SEEK_DATA) ?? offset;
  // Behind the last content there is none.
  return content < 0 ? libc()?.error() === 'ENXIO' : content >= offset + length;
}
