import { DirectoryStorage } from './storages.js';

type Picker = {
  showDirectoryPicker?(options: { mode: 'read' | 'readwrite' }): Promise<FileSystemDirectoryHandle>;
};
const picker = window as Picker;

export const canChooseFolders = (): boolean => picker.showDirectoryPicker !== undefined;

/**
 * Has the user choose a folder; a browser asks only right after a click. @throws DOMException `AbortError`
 */
export async function chooseFolder(mode: 'read' | 'readwrite'): Promise<DirectoryStorage> {
  const folder = await picker.showDirectoryPicker?.({ mode });
  if (!folder) throw new DOMException('no folder', 'AbortError');
  return new DirectoryStorage(folder);
}
