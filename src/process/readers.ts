import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { harmlessEnvironment } from './environment.js';

/**
 * Who can read a file besides its owner, root and this process's user, in words; `undefined` if nobody can. A
 * group without other members does not count: systemd's LoadCredential and Kubernetes make such files.
 */
export function whoElseReads(path: string): string | undefined {
  const { mode, uid, gid } = statSync(path);
  if (mode & 0o007) return 'everybody';
  if (mode & 0o020) return 'its group can even write';
  if (!(mode & 0o040)) return undefined;
  const known = new Set([uid, 0, process.getuid?.() ?? uid]);
  const { users, groups } = hasAccessList(path) ? accessList(path) : { users: [], groups: [] };
  const members = [gid, ...groups].flatMap((group) => [...membersOf(group)]);
  const others = [...users, ...members].filter((user) => !known.has(user));
  return others.length > 0 ? `user ${others[0]}` : undefined;
}

const lines = (path: string): string[][] => {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .map((line) => line.split(':'));
  } catch {
    return [];
  }
};

/** Users of this machine who are in a group, by their numbers. */
function membersOf(group: number): Set<number> {
  const passwd = lines('/etc/passwd');
  const numbers = new Map(passwd.map(([name, , uid]) => [name, Number(uid)]));
  const named = lines('/etc/group')
    .filter(([, , gid]) => gid && Number(gid) === group)
    .flatMap(([, , , members = '']) => members.split(',').filter(Boolean))
    .map((name) => numbers.get(name) ?? Number.NaN);
  const first = passwd.filter(([, , , gid]) => gid && Number(gid) === group).map(([, , uid]) => Number(uid));
  return new Set([...named, ...first]);
}

/** The mode of a file with an access list does not show whom the list names; `ls` marks such a file. */
const hasAccessList = (path: string): boolean =>
  /^\S{10}\+/.test(
    execFileSync('ls', ['-ldL', '--', path], { encoding: 'utf8', env: harmlessEnvironment() }),
  );

/** Whom a file's access list names besides owner and group; an unknown user if that cannot be found out. */
function accessList(path: string): { users: number[]; groups: number[] } {
  let text: string;
  try {
    text = execFileSync('getfacl', ['-cnpE', '--', path], {
      encoding: 'utf8',
      stdio: 'pipe',
      env: harmlessEnvironment(),
    });
  } catch {
    // Without getfacl (Debian's package acl) only a folder that systemd made can be trusted: its list names
    // one user.
    const isCredential = path.startsWith(`${process.env.CREDENTIALS_DIRECTORY}/`);
    return { users: isCredential ? [] : [Number.NaN], groups: [] };
  }
  const named = (kind: string) =>
    [...text.matchAll(new RegExp(`^${kind}:(\\d+):r`, 'gm'))].map(([, id]) => Number(id));
  return { users: named('user'), groups: named('group') };
}
