import { createRequire } from 'node:module';

/** Calls of the C library that Node.js does not have, on Linux. */
export interface Libc {
  /** @param prototype as C declares it */
  call(prototype: string): (...args: never[]) => number;
  /** the error code of the last call, such as `ENODATA` */
  error(): string;
}

/** Makes a value when it is first asked for. */
export function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** @returns `undefined` where the C library cannot be called */
export const libc = once((): Libc | undefined => {
  if (process.platform !== 'linux') return undefined;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi').default;
    const library = koffi.load(null as unknown as string);
    const codes = new Map(Object.entries(koffi.os.errno).map(([code, number]) => [number, code]));
    return {
      call: (prototype) => library.func(prototype) as unknown as ReturnType<Libc['call']>,
      error: () => codes.get(koffi.errno()) ?? `error ${koffi.errno()}`,
    };
  } catch {
    return undefined;
  }
});
