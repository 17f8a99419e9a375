/** Values as bytes: fixed fields as they are, others after their length. All integers are big-endian. */

/** Bytes that do not follow the schema: the sender is not a process of the vault. */
export class Malformed extends Error {
  override name = 'Malformed';
}

export class Reader {
  #at = 0;

  constructor(readonly bytes: Buffer) {}

  take(length: number): Buffer {
    if (this.#at + length > this.bytes.length) throw new Malformed('the frame is too short');
    this.#at += length;
    return this.bytes.subarray(this.#at - length, this.#at);
  }

  uint(size: 1 | 2 | 4): number {
    return this.take(size).readUIntBE(0, size);
  }

  /** @throws Malformed when something is left */
  end(): void {
    if (this.#at !== this.bytes.length) throw new Malformed('the frame is too long');
  }
}

export class Writer {
  readonly #parts: Uint8Array[] = [];

  put(bytes: Uint8Array): void {
    this.#parts.push(bytes);
  }

  uint(value: number, size: 1 | 2 | 4): void {
    const bytes = Buffer.allocUnsafe(size);
    bytes.writeUIntBE(value, 0, size);
    this.#parts.push(bytes);
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

export interface Field<T> {
  /** @throws Malformed when the value is not what the schema says */
  write(out: Writer, value: T): void;
  read(from: Reader): T;
}
type ValueOf<F> = F extends Field<infer T> ? T : never;

const check = (holds: boolean, what: string): void => {
  if (!holds) throw new Malformed(what);
};

/** What is kept must not keep the rest of the frame in memory. */
const copyOf = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes);

/** Exactly `length` bytes. */
export const fixed = (length: number): Field<Uint8Array> => ({
  write: (out, value) => {
    check(value.length === length, `${value.length} bytes, not ${length}`);
    out.put(value);
  },
  read: (from) => copyOf(from.take(length)),
});

/** From `min` to `max` bytes, after their length as u16, or as u32 if u16 is too small. */
export function bytes(min: number, max: number): Field<Uint8Array> {
  const size = max < 2 ** 16 ? 2 : 4;
  const inRange = (length: number) => check(length >= min && length <= max, `${length} bytes`);
  return {
    write: (out, value) => {
      inRange(value.length);
      out.uint(value.length, size);
      out.put(value);
    },
    read: (from) => {
      const length = from.uint(size);
      inRange(length);
      return copyOf(from.take(length));
    },
  };
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Text of at most `max` bytes of UTF-8. */
export function text(max: number): Field<string> {
  const inner = bytes(0, max);
  return {
    write: (out, value) => inner.write(out, Buffer.from(value)),
    read: (from) => {
      const raw = inner.read(from);
      try {
        return utf8.decode(raw);
      } catch {
        throw new Malformed('not UTF-8');
      }
    },
  };
}

/** Text of at most `max` visible characters of ASCII: one word, wherever it is logged. */
export function word(max: number): Field<string> {
  const inner = text(max);
  const expectWord = (value: string) => check(/^[!-~]*$/.test(value), 'not visible ASCII');
  return {
    write: (out, value) => {
      expectWord(value);
      inner.write(out, value);
    },
    read: (from) => {
      const value = inner.read(from);
      expectWord(value);
      return value;
    },
  };
}

/** Bytes of a fixed length that are text elsewhere. */
function encoded(length: number, encoding: 'hex' | 'base64url'): Field<string> {
  return {
    write: (out, value) => {
      const raw = Buffer.from(value, encoding);
      check(raw.length === length && raw.toString(encoding) === value, `not ${length} bytes as ${encoding}`);
      out.put(raw);
    },
    read: (from) => from.take(length).toString(encoding),
  };
}
export const hex = (length: number): Field<string> => encoded(length, 'hex');
export const base64url = (length: number): Field<string> => encoded(length, 'base64url');

export const uint = (size: 1 | 2 | 4): Field<number> => ({
  write: (out, value) => {
    check(Number.isInteger(value) && value >= 0 && value < 256 ** size, `${value} is no u${size * 8}`);
    out.uint(value, size);
  },
  read: (from) => from.uint(size),
});

export const flag: Field<boolean> = {
  write: (out, value) => out.uint(value ? 1 : 0, 1),
  read: (from) => {
    const value = from.uint(1);
    check(value < 2, 'neither 0 nor 1');
    return value === 1;
  },
};

/** One of some words, as its place among them, u8. */
export const oneOf = <const W extends string>(...words: W[]): Field<W> => ({
  write: (out, value) => out.uint(words.indexOf(value), 1),
  read: (from) => {
    const word = words[from.uint(1)];
    check(word !== undefined, 'an unknown word');
    return word as W;
  },
});

export const optional = <T>(field: Field<T>): Field<T | undefined> => ({
  write: (out, value) => {
    flag.write(out, value !== undefined);
    if (value !== undefined) field.write(out, value);
  },
  read: (from) => (flag.read(from) ? field.read(from) : undefined),
});

export const list = <T>(field: Field<T>, most: number): Field<readonly T[]> => ({
  write: (out, values) => {
    check(values.length <= most, 'too many');
    out.uint(values.length, 2);
    for (const value of values) field.write(out, value);
  },
  read: (from) => {
    const count = from.uint(2);
    check(count <= most, 'too many');
    return Array.from({ length: count }, () => field.read(from));
  },
});

/** Fields one after the other. A field that is `undefined` is absent from what is read. */
export function struct<F extends Record<string, Field<unknown>>>(
  table: F,
): Field<{ [N in keyof F]: ValueOf<F[N]> }> {
  const entries = Object.entries(table) as [string, Field<unknown>][];
  return {
    write: (out, value) => {
      for (const [name, field] of entries) field.write(out, (value as Record<string, unknown>)[name]);
    },
    read: (from) => {
      const value: Record<string, unknown> = {};
      for (const [name, field] of entries) {
        const one = field.read(from);
        if (one !== undefined) value[name] = one;
      }
      return value as { [N in keyof F]: ValueOf<F[N]> };
    },
  };
}

export const nothing: Field<undefined> = { write: () => undefined, read: () => undefined };

/** A whole body by its schema. */
export function encode<T>(field: Field<T>, value: T): Buffer {
  const out = new Writer();
  field.write(out, value);
  return out.bytes;
}

/** @throws Malformed */
export function decode<T>(field: Field<T>, body: Buffer): T {
  const from = new Reader(body);
  const value = field.read(from);
  from.end();
  return value;
}
