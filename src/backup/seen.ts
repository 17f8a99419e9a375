import { BackupError } from './errors.js';
import type { Keyring } from './keyring.js';

/** The storage hides an epoch that this device has seen. */
export class OlderKeys extends BackupError {}

/** The mark of the newest epoch that a device has seen of a backup, by the backup's id. */
export type SeenEpoch = (id: string) => string | undefined;

/**
 * Nothing is written if the storage hides an epoch, because an opener that was removed since could read it. A
 * forged beginning may have given the backup another id, so every id that it could have is looked up.
 * @throws BackupError
 */
export function checkSeen({ epochs, v1 }: Keyring, seen: SeenEpoch): void {
  const ids = [...epochs.map(({ id }) => id.slice(0, 16)), ...(v1 ? [v1.id] : [])];
  const hidden = ids.some((id) => {
    const mark = seen(id);
    return mark !== undefined && !epochs.some((epoch) => epoch.mark === mark);
  });
  if (hidden)
    throw new OlderKeys(
      'this device has seen newer keys of this backup, and the storage shows older ones: someone who was removed since then could read what is written now. If the storage itself was restored to an older state, use --accept-older-keys',
    );
}
