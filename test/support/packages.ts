/** What may run beside a token that is logged in. Whoever adds a package here says why. */
export const KEEPER_PACKAGES: readonly string[] = [
  // The address of a buffer, for CKA_UNWRAP_TEMPLATE: only when a start makes the embedded token's keys.
  '@koromix/koffi-linux-x64',
  'koffi',
  '@noble/curves',
  '@noble/hashes',
  'better-sqlite3',
  'bindings',
  'file-uri-to-path',
  'graphene-pk11',
  'jose',
  'kysely',
  'pkcs11js',
  'tslib',
  'yaml',
];

/** The same, on PostgreSQL. */
export const POSTGRES_PACKAGES: readonly string[] = [
  ...KEEPER_PACKAGES,
  'pg',
  'pg-cloudflare',
  'pg-connection-string',
  'pg-int8',
  'pg-pool',
  'pg-protocol',
  'pg-types',
  'pgpass',
  'postgres-array',
  'postgres-bytea',
  'postgres-date',
  'postgres-interval',
  'split2',
  'xtend',
];

/** Packages of modules, by their paths. */
export function packagesAmong(files: readonly string[]): string[] {
  const names = files.flatMap((file) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? []);
  return [...new Set(names)].sort();
}
