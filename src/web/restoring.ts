import { type Opener, restoreEntries } from '../backup/index.js';
import { account } from './account.js';
import { tellGuesses } from './changing.js';
import { canChooseFolders, chooseFolder } from './folder.js';
import { ask, askDigits, chosenWay, expectOpens, offerWays, type Purpose, waysOf } from './opening.js';
import { remember } from './remembered.js';
import { offer, Shelf } from './shelf.js';
import {
  element,
  follow,
  input,
  listProblems,
  type Outlet,
  onClick,
  onSubmit,
  run,
  setTask,
  show,
  showAnew,
} from './steps.js';
import { ArchiveStorage, contentOf, type DirectoryStorage } from './storages.js';
import { showWays } from './ways.js';
import { filesAre, Problem, texts } from './words.js';

let folder: DirectoryStorage | undefined;
let storage: ArchiveStorage | DirectoryStorage;
let shelf: Shelf;

export function beginRestore(): void {
  setTask('Restore');
  folder = undefined;
  input('archive').value = '';
  element('#folder-name').textContent = '';
  show('source');
}

async function takeSource(): Promise<void> {
  const [file] = input('archive').files ?? [];
  if (file) storage = openArchive(await file.arrayBuffer());
  else if (folder) storage = folder;
  else throw new Problem(texts.noBackupChosen);
  // Checked before a password is asked for.
  if ((await contentOf(storage)) !== 'backup')
    throw new Problem(file ? texts.notABackup : texts.noBackupInFolder);
  element('#opener-title').textContent = 'How do you open it?';
  element('#opener-note').hidden = true;
  offerWays(await waysOf(storage));
  show('opener');
}

function openArchive(content: ArrayBuffer): ArchiveStorage {
  try {
    return new ArchiveStorage(new Uint8Array(content));
  } catch {
    throw new Problem(texts.notABackup);
  }
}

const purpose: Purpose = {
  passwordNote: texts.forRestore,
  opened: async (opener) => {
    await expectOpens(storage, opener);
    follow('restoring', restore);
  },
  closed: () => showAnew('closed'),
};

/** Goes on from the step `opener` of a restore. */
export async function openRestore(): Promise<void> {
  const way = chosenWay();
  if (way !== 'password') return ask(way, purpose);
  const { state } = await account.status();
  if (state === 'locked') showAnew('closed');
  else if (state === 'unregistered') throw new Problem(texts.noPassword);
  else ask(way, purpose);
}

async function restore(outlet: Outlet): Promise<void> {
  shelf.clear();
  outlet.say('The files are being decrypted …');
  const opener = account.opener as Opener;
  const { files, damaged } = await restoreEntries(storage, shelf, opener, { progress: outlet.progress });
  await remember(storage, opener);
  element('#restored-title').textContent = `${filesAre(files)} restored`;
  listProblems('damaged', `${filesAre(damaged.length)} damaged, and could not be restored:`, damaged);
  element('#unsaved').textContent = texts.unsaved(shelf.size);
  element('#save-all').hidden = shelf.size < 2;
  tellGuesses('restored');
  showAnew('restored');
}

/** Lets go of what was restored. */
export const clearRestored = (): void => shelf.clear();

export function prepareRestore(): void {
  shelf = new Shelf(element('#shelf'));
  element('#or-folder').hidden = !canChooseFolders();
  onClick(
    '#open-folder',
    () =>
      void run('source', async () => {
        folder = await chooseFolder('read');
        input('archive').value = '';
        element('#folder-name').textContent = `Folder: ${folder.name}`;
      }),
  );
  input('archive').addEventListener('change', () => {
    folder = undefined;
    element('#folder-name').textContent = '';
  });
  onSubmit('source', takeSource);
  onSubmit('restoring', restore);
  onClick(
    '#save-all',
    () =>
      void (async () => {
        const link = document.createElement('a');
        offer(link, 'restored.zip', await shelf.zip());
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      })(),
  );
  onClick('#restored-ways', () => showWays(storage));
  onClick('#closed-digits', () => (storage ? askDigits(purpose) : beginRestore()));
}
