const WORDS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not',
  EADDRINUSE: 'another program listens there',
  EADDRNOTAVAIL: 'this machine has no such address',
  EDQUOT: 'this user has no room left on the disk',
  EEXIST: 'it is there already',
  EISDIR: 'it is a folder, and a file is needed',
  EMFILE: 'this process may open no more files',
  ENOENT: 'it is not there',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'it is a file, and a folder is needed',
  EPERM: 'this user may not',
  EROFS: 'the disk is read-only',
};

/** What of a file or an address the system refused, and why, as a person is told. @returns `undefined` for other errors */
export function systemFault(error: unknown): string | undefined {
  const {
    code = '',
    syscall,
    path,
    dest,
    address,
    port,
  } = error as NodeJS.ErrnoException & {
    dest?: string;
    address?: string;
    port?: number;
  };
  const words = WORDS[code];
  const what =
    path === undefined ? address && `${address}:${port}` : [path, dest].filter(Boolean).join(' → ');
  return words && what ? `${what}: ${words} (${syscall}, ${code})` : undefined;
}

/** An unexpected error in words: what the system refused, or its name and message. */
export const inWords = (error: Error): string => systemFault(error) ?? `${error.name}: ${error.message}`;
