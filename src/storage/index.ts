import { FolderStorage } from './folder.js';
import { type Storage, StorageError } from './storage.js';

export { ObjectError, type Storage, StorageError, type Stored } from './storage.js';

/**
 * Opens a storage by the name that a user gives it: a folder, `s3://bucket/prefix`, the address of a WebDAV
 * collection (http or https; BKV_WEBDAV_USER and BKV_WEBDAV_PASSWORD), or `rclone:remote:path`. The caller
 * must close it. @throws StorageError
 */
export async function openStorage(location: string): Promise<Storage> {
  // Each is loaded only when it is needed: a folder needs none of their libraries.
  if (location.startsWith('s3://')) return new (await import('./s3.js')).S3Storage(location);
  if (location.startsWith('rclone:')) return (await import('./rclone.js')).openRclone(location);
  if (!/^https?:\/\//.test(location)) return new FolderStorage(location);
  if (!URL.canParse(location))
    throw new StorageError(`${location} is not an address; write https://host/folder`);
  const { WebDavStorage } = await import('./webdav.js');
  const { BKV_WEBDAV_USER: username, BKV_WEBDAV_PASSWORD: password } = process.env;
  return new WebDavStorage(location, location, username && password ? { username, password } : undefined);
}
