/** Order of a list: folders before what they hold, names by their UTF-16 code units. */
export function comparePaths(a: string, b: string): number {
  if (a === b) return 0;
  if (a === '' || b === '') return a === '' ? -1 : 1;
  let at = 0;
  while (at < a.length && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  if (at === a.length || at === b.length) return a.length - b.length;
  const [x, y] = [a.charCodeAt(at), b.charCodeAt(at)];
  // A segment that ends here sorts before one that goes on.
  if (x === SLASH || y === SLASH) return x === SLASH ? -1 : 1;
  return x - y;
}

const SLASH = 0x2f;

/** Whether a path is the folder or lies below it. `''` contains everything. */
export const isWithin = (path: string, folder: string): boolean =>
  folder === '' || path === folder || path.startsWith(`${folder}/`);

/** FNV-1a of the UTF-16 code units, 32 bits. */
export function hashPath(path: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < path.length; i++) hash = Math.imul(hash ^ path.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

const WINDOWS_DEVICE = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\.|$)/i;

/**
 * Why a path may not be restored on a system where its characters can mean another place.
 * @param platform as `process.platform`
 * @returns `undefined` when it may
 */
export function unsafePath(path: string, platform: string): string | undefined {
  if (path === '') return undefined;
  for (const segment of path.split('/')) {
    if (segment === '' || segment === '.' || segment === '..' || segment.includes('\0'))
      return 'its path leads outside';
    if (platform !== 'win32') continue;
    if (/[\\:<>"|?*\p{Cc}]/u.test(segment) || /[. ]$/.test(segment) || WINDOWS_DEVICE.test(segment))
      return 'Windows has no such name';
  }
  return undefined;
}
