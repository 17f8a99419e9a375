import { dirname, isAbsolute, resolve } from 'node:path';
import { Document, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';

/** Where a value is, and how faults of it are reported. */
export interface Place {
  /** the field's path, as `tls.cert`; empty for the whole file */
  readonly field: string;
  /** the file's folder, for paths relative to it */
  readonly folder: string;
  /** the map that the field is in: its line is reported if the field is missing */
  readonly map?: Node | undefined;
  fault(text: string, node?: Node | null): void;
}

/** Reads one value. Faults are reported to `place`; the result must then not be used. */
export interface Check<T> extends Described {
  (node: Node | null | undefined, place: Place): T;
}
/** What docs/config.md says about a value. */
export interface Described {
  /** what the field does */
  readonly about?: string;
  /** its default, if it may be left out */
  readonly leftOut?: { readonly value: unknown };
  /** the fields of a map */
  readonly table?: Fields;
}
export type Checked<C> = C extends Check<infer T> ? T : never;
type Fields = Readonly<Record<string, Check<unknown>>>;
type CheckedFields<F extends Fields> = { readonly [N in keyof F]: Checked<F[N]> };

const scalar = <T>(what: string, is: (value: unknown) => value is T): Check<T> => {
  return (node, place) => {
    const value = isScalar(node) ? node.value : undefined;
    if (!is(value)) place.fault(`must be ${what}`, node);
    return value as T;
  };
};

export const text: Check<string> = scalar('text', (value): value is string => typeof value === 'string');
export const flag: Check<boolean> = scalar(
  'true or false',
  (value): value is boolean => typeof value === 'boolean',
);

export const number = (min: number, max: number): Check<number> =>
  scalar(
    `a number from ${min} to ${max}`,
    (value): value is number => typeof value === 'number' && value >= min && value <= max,
  );

export const integer = (min: number, max = Number.MAX_SAFE_INTEGER): Check<number> =>
  scalar(
    max === Number.MAX_SAFE_INTEGER
      ? `a whole number, at least ${min}`
      : `a whole number from ${min} to ${max}`,
    (value): value is number =>
      Number.isInteger(value) && (value as number) >= min && (value as number) <= max,
  );

export const matching = (what: string, is: (value: string) => boolean): Check<string> =>
  scalar(what, (value): value is string => typeof value === 'string' && is(value));

export const oneOf = <const W extends string>(...words: W[]): Check<W> =>
  scalar(words.join(' or '), (value): value is W => words.includes(value as W));

/** A path; a relative one is relative to the file that names it. */
export const path: Check<string> = (node, place) => {
  const value = text(node, place);
  return typeof value === 'string' && !isAbsolute(value) ? resolve(place.folder, value) : value;
};

/** A URL of one of these schemes, unchanged; anything else is a {@link path}. */
export const urlOrPath =
  (...schemes: string[]): Check<string> =>
  (node, place) => {
    const value = text(node, place);
    return typeof value === 'string' && schemes.some((scheme) => value.startsWith(`${scheme}:`))
      ? value
      : path(node, place);
  };

const like = <T>(described: Described, check: Check<T>, more: Described): Check<T> =>
  Object.assign(check, described, more);

/** A field with a description of what it does. */
export const field = <T>(check: Check<T>, about: string): Check<T> =>
  like(check, (node, place) => check(node, place), { about });

export const withDefault = <T>(check: Check<T>, value: T): Check<T> =>
  like(check, (node, place) => (node === undefined || node === null ? value : check(node, place)), {
    leftOut: { value },
  });

/** A value that may be left out. */
export const optional = <T>(check: Check<T>): Check<T | undefined> =>
  withDefault<T | undefined>(check, undefined);

export const list =
  <T>(check: Check<T>, atLeast = 0): Check<readonly T[]> =>
  (node, place) => {
    if (!isSeq(node) || node.items.length < atLeast) {
      place.fault(atLeast > 0 ? 'must be a list that is not empty' : 'must be a list', node);
      return [];
    }
    return node.items.map((item, i) => check(item as Node, { ...place, field: `${place.field}[${i}]` }));
  };

/** Bytes as base64 (RFC 4648, section 4), left as text. */
export const base64: Check<string> = matching(
  'base64',
  (value) => Buffer.from(value, 'base64').toString('base64') === value,
);

/** A map of these fields and no others. */
export const fields = <F extends Fields>(table: F): Check<CheckedFields<F>> => {
  const check: Check<CheckedFields<F>> = (node, place) => {
    const found = new Map<string, Node | null>();
    if (node && !isMap(node)) place.fault('must be a map of fields', node);
    if (isMap(node))
      for (const { key, value } of node.items) {
        const name = String(isScalar(key) ? key.value : key);
        if (name in table) found.set(name, value as Node | null);
        else place.fault(`"${name}" is not a field${didYouMean(name, Object.keys(table))}`, key as Node);
      }
    return Object.fromEntries(
      Object.entries(table).map(([name, check]) => [
        name,
        check(found.get(name), {
          ...place,
          field: place.field ? `${place.field}.${name}` : name,
          map: node ?? place.map,
        }),
      ]),
    ) as CheckedFields<F>;
  };
  return like({}, check, { table });
};

/** A suggestion for a misspelt name, or nothing. */
function didYouMean(name: string, names: readonly string[]): string {
  const [nearest] = names
    .map((one) => ({ one, distance: distance(name.toLowerCase(), one.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  return nearest && nearest.distance <= Math.max(2, name.length / 3)
    ? `; did you mean "${nearest.one}"?`
    : '';
}

/** How many letters must be inserted, deleted or replaced (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(
        (row[j] as number) + 1,
        (next[j - 1] as number) + 1,
        (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1),
      );
    row = next;
  }
  return row[b.length] as number;
}

/**
 * Reads YAML by a check.
 * @param file names the text in errors, and the folder that relative paths start from
 * @param refuse throws, with a line for each thing that is wrong, as `file:line: field: what`
 */
export function checkYaml<T>(
  source: string,
  file: string,
  check: Check<T>,
  refuse: (faults: string) => never,
): T {
  const lines = new LineCounter();
  return checkDocument(parseDocument(source, { lineCounter: lines }), lines, file, check, refuse);
}

/** The same for a value that was read already; its faults have no lines. */
export const checkValue = <T>(
  value: unknown,
  file: string,
  check: Check<T>,
  refuse: (faults: string) => never,
): T =>
  checkDocument(
    new Document(value, { aliasDuplicateObjects: false }),
    new LineCounter(),
    file,
    check,
    refuse,
  );

function checkDocument<T>(
  document: Pick<Document, 'errors'> & { contents: Node | null },
  lines: LineCounter,
  file: string,
  check: Check<T>,
  refuse: (faults: string) => never,
): T {
  const faults: string[] = [];
  const at = (node: Node | null | undefined): string =>
    node?.range ? `${file}:${lines.linePos(node.range[0]).line}` : file;
  for (const { message, pos } of document.errors)
    faults.push(`${file}:${lines.linePos(pos[0]).line}: ${message.split('\n')[0]}`);
  const place = (field: string): Place => ({
    field,
    folder: dirname(resolve(file)),
    fault(this: Place, what, node) {
      faults.push(
        `${at(node ?? this.map ?? document.contents)}: ${this.field ? `${this.field}: ` : ''}${what}`,
      );
    },
  });
  const value = faults.length === 0 ? check(document.contents, place('')) : undefined;
  if (faults.length > 0) refuse(faults.join('\n'));
  return value as T;
}
