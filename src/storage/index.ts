import { FolderStorage } from './folder.js';
import { openRclone } from './rclone.js';
import { S3Storage } from './s3.js';
import type { Storage } from './storage.js';
import { WebDavStorage } from './webdav.js';

export { type Storage, StorageError, type Stored } from './storage.js';

/**
 * Opens a storage by the name that a user gives it: a folder, `s3://bucket/prefix`, the address of a WebDAV collection
 * (http or https; BKV_WEBDAV_USER and BKV_WEBDAV_PASSWORD), or `rclone:remote:path`. Close it in the end.
 * @throws StorageError
 */
export async function openStorage(location: string): Promise<Storage> {
  if (location.startsWith('s3://')) return new S3Storage(location);
  if (location.startsWith('rclone:')) return openRclone(location);
  if (!/^https?:\/\//.test(location)) return new FolderStorage(location);
  const { BKV_WEBDAV_USER: username, BKV_WEBDAV_PASSWORD: password } = process.env;
  return new WebDavStorage(location, location, username && password ? { username, password } : undefined);
}
