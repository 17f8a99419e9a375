import { libc, once } from './libc.js';

/** Most bytes of a value, and of a list of names, on Linux. */
const MOST = 65_536;

type Path = string | Buffer;
interface Calls {
  list(path: Path, names: Buffer, size: number): number;
  get(path: Path, name: string, value: Buffer, size: number): number;
  set(file: number, name: string, value: Buffer, size: number, flags: number): number;
  error(): string;
}

/** Extended attributes by name; the values are base64url. POSIX ACLs are among them. */
export type ExtendedAttributes = Record<string, string>;

export const ACL = 'system.posix_acl_access';

const system = once((): Calls | undefined => {
  const library = libc();
  if (!library) return undefined;
  const { call, error } = library;
  return {
    list: call('int64_t llistxattr(const char *path, _Out_ uint8_t *names, size_t size)'),
    get: call('int64_t lgetxattr(const char *path, const char *name, _Out_ uint8_t *value, size_t size)'),
    set: call('int fsetxattr(int file, const char *name, const uint8_t *value, size_t size, int flags)'),
    error,
  } as Calls;
});

/** Whether this system has extended attributes that can be read here. */
export const hasXattr = (): boolean => system() !== undefined;

const names = Buffer.alloc(MOST);
const value = Buffer.alloc(MOST);
const terminated = (path: Path): Path =>
  typeof path === 'string' ? path : Buffer.concat([path, Buffer.of(0)]);

/**
 * The extended attributes of a file or folder; a link is not followed. An attribute that cannot be read is
 * left out. @param onFailure gets the system's error code for each that cannot be read @returns `undefined`
 * when there are none, or the file system has no extended attributes
 */
export function readXattr(path: Path, onFailure: (code: string) => void): ExtendedAttributes | undefined {
  const calls = system();
  if (!calls) return undefined;
  const at = terminated(path);
  const failed = (harmless: readonly string[]) => {
    const code = calls.error();
    if (!harmless.includes(code)) onFailure(code);
  };
  const length = calls.list(at, names, MOST);
  if (length < 0) failed(['ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);
  if (length <= 0) return undefined;
  const found: ExtendedAttributes = {};
  for (const name of names.toString('utf8', 0, length - 1).split('\0')) {
    const size = calls.get(at, name, value, MOST);
    if (size >= 0) found[name] = value.toString('base64url', 0, size);
    // It may have gone since it was listed.
    else failed(['ENODATA']);
  }
  return Object.keys(found).length > 0 ? found : undefined;
}

/** @param file an open file @param content base64url @throws when the system refuses */
export function writeXattr(file: number, name: string, content: unknown): void {
  const calls = system();
  if (typeof content !== 'string' || name.includes('\0'))
    throw new Error(`extended attribute ${JSON.stringify(name)} is not as the format says`);
  if (!calls) throw new Error(`this system does not support the extended attribute ${name}`);
  const bytes = Buffer.from(content, 'base64url');
  if (calls.set(file, name, bytes, bytes.length, 0) < 0)
    throw new Error(`extended attribute ${name} was refused (${calls.error()})`);
}

const ACL_HEAD_BYTES = 4;
const ACL_ENTRY_BYTES = 8;
const OWNING_GROUP = 0x04;
const MASK = 0x10;

/**
 * Permissions for a file whose ACL cannot be restored. With an ACL the mode's group bits cover everybody whom
 * the ACL names. Only what the owning group itself may do is left of them.
 */
export function modeWithoutAcl(mode: number, acl: unknown): number {
  if (typeof acl !== 'string') return mode;
  const bytes = Buffer.from(acl, 'base64url');
  let [group, mask] = [0, 7];
  for (let at = ACL_HEAD_BYTES; at + ACL_ENTRY_BYTES <= bytes.length; at += ACL_ENTRY_BYTES) {
    const [tag, permissions] = [bytes.readUInt16LE(at), bytes.readUInt16LE(at + 2) & 7];
    if (tag === OWNING_GROUP) group = permissions;
    if (tag === MASK) mask = permissions;
  }
  return (mode & ~0o070) | (((group & mask) << 3) & mode);
}
