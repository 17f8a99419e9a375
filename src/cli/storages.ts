import { isPlainHttp } from '../protocol/terms.js';
import { openStorage, type Storage } from '../storage/index.js';

/** A server at home often has no certificate, so this is no error: the backup is encrypted, and the password is not. */
function warnOfPlainHttp(location: string): void {
  const isUrl = /^https?:/.test(location) && URL.canParse(location);
  if (isUrl && isPlainHttp(new URL(location)) && process.env.BKV_WEBDAV_PASSWORD)
    process.stderr.write(
      `warning: ${location} is not encrypted: whoever can listen on the way reads your WebDAV password, and can delete the backup with it; use https: if the server has it\n`,
    );
}

/** Opens a storage, uses it, and closes it. @throws StorageError */
export async function withStorage(location: string, use: (storage: Storage) => Promise<void>): Promise<void> {
  warnOfPlainHttp(location);
  const storage = await openStorage(location);
  try {
    await use(storage);
  } finally {
    await storage.close();
  }
}
