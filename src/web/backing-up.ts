import { backupEntries } from '../backup/index.js';
import { KeyExists, newBackupKey } from '../client/index.js';
import { account } from './account.js';
import { clearDigits, showDigits } from './digits.js';
import { chosenFiles, clearFiles, totalSize } from './files.js';
import { canChooseFolders, chooseFolder } from './folder.js';
import { clearNewPassword, takeNewPassword } from './new-password.js';
import { askDigits, askPassword, chosenOpener, type Opener, type Purpose } from './opening.js';
import { entries } from './selection.js';
import { offer } from './shelf.js';
import {
  chosen,
  element,
  follow,
  input,
  listProblems,
  type Outlet,
  onClick,
  onSubmit,
  setTask,
  show,
  showAnew,
} from './steps.js';
import { ArchiveStorage, contentOf, type DirectoryStorage, opens } from './storages.js';
import { FieldProblem, filesAre, Problem, texts } from './words.js';

/** Bytes that a backup of one file may have: it is made in memory. */
const ARCHIVE_LIMIT = 1e9;

let storage: ArchiveStorage | DirectoryStorage;
/** whether there is a backup at the destination, which has a key already */
let isThere = false;
const openers = new Set<Opener>();
/** The person has agreed to lose what the old password opened. */
let replacing = false;

export function beginBackup(): void {
  setTask('Back up');
  clearFiles();
  show('files');
}

async function takeDestination(): Promise<void> {
  if (chosen('where') === 'download') {
    if (totalSize() > ARCHIVE_LIMIT) throw new Problem(texts.tooLarge);
    storage = new ArchiveStorage();
    isThere = false;
  } else {
    const folder = await chooseFolder('readwrite');
    const content = await contentOf(folder);
    if (content === 'something else') throw new Problem(texts.foreignFolder);
    storage = folder;
    isThere = content !== 'nothing';
  }
  element('#opener-title').textContent = isThere
    ? 'How do you open this backup?'
    : 'How do you want to open it later?';
  element('#opener-note').textContent = isThere ? texts.folderHasBackup : '';
  element('#opener-note').hidden = !isThere;
  show('opener');
}

const purpose = (passwordNote: string, opened: Purpose['opened']): Purpose => ({
  passwordNote,
  opened,
  forgotten: () => giveUp('forgotten'),
  closed: () => giveUp('locked'),
});

/** With the key of the backup that is at the destination, or of all that the password opens. */
async function save(key: Uint8Array, opener: Opener): Promise<void> {
  if (isThere && !(await opens(storage, key))) {
    key.fill(0);
    throw new Problem(texts.otherKey(opener));
  }
  account.key = key;
  openers.add(opener);
  start();
}

/** The backup at the destination is opened as it always was: a new key would open nothing of it. */
function openExisting(opener: Opener): void {
  const why: Purpose = { passwordNote: texts.existingFolder, opened: save, closed: () => showAnew('closed') };
  if (opener === 'digits') askDigits(why);
  else askPassword(why);
}

async function takePassword(): Promise<void> {
  replacing = false;
  const { state } = await account.status();
  if (state === 'locked') giveUp('locked');
  else if (state === 'registered') askPassword(purpose(texts.existing, save));
  else show('new-password');
}

/** The key of this visit's backups, or a new one; when a password holds a key, the person says which is meant. */
async function takeDigits(): Promise<void> {
  if (account.key) return giveDigits(account.key);
  // Digits need no vault: when it does not answer, they are of a key of their own.
  const state = await account.status().then(
    (status) => status.state,
    () => 'unknown',
  );
  if (state === 'registered') show('digits-which');
  else giveDigits(newBackupKey());
}

function giveDigits(key: Uint8Array): void {
  account.key = key;
  showDigits(key, async () => {
    openers.add('digits');
    clearDigits();
    start();
  });
}

function giveUp(why: 'forgotten' | 'locked'): void {
  element('#replace-why').textContent = texts[why];
  element('#replace-loss').textContent = texts.loss;
  input('agree').checked = false;
  replacing = false;
  show('replace');
}

async function register(outlet: Outlet): Promise<void> {
  outlet.say('Checking the password …');
  const password = await takeNewPassword();
  outlet.say('Setting up the password …');
  const key = account.key ?? newBackupKey();
  try {
    await account.register(password, key, replacing);
  } catch (error) {
    // Another tab or device was faster, or the answer to an earlier try was lost.
    if (!(error instanceof KeyExists)) throw error;
    clearNewPassword();
    return takePassword();
  }
  replacing = false;
  clearNewPassword();
  account.key = key;
  openers.add('password');
  start();
}

const start = (): void => follow('saving', write);

async function write(outlet: Outlet): Promise<void> {
  outlet.say(`${filesAre(chosenFiles().length)} being encrypted …`);
  const { files, leftOut } = await backupEntries(
    () => entries(chosenFiles()),
    totalSize(),
    storage,
    account.key as Uint8Array,
    { progress: outlet.progress },
  );
  listProblems('left-out', `${filesAre(leftOut.length)} not in it, and could not be read:`, leftOut);
  showSaved(files);
}

function showSaved(count: number): void {
  element('#saved-title').textContent = `${filesAre(count)} backed up`;
  element('#saved-opens').textContent =
    openers.size > 1
      ? texts.opensWithBoth
      : openers.has('password')
        ? texts.opensWithPassword
        : texts.opensWithDigits;
  element('#saved-where').textContent =
    storage instanceof ArchiveStorage ? texts.savedDownload : texts.savedFolder(storage.name);
  element('#save-again').hidden = !(storage instanceof ArchiveStorage);
  if (storage instanceof ArchiveStorage) {
    const link = element<HTMLAnchorElement>('#save-again a');
    offer(link, 'backup.bkv', new Blob([storage.archive()]));
    link.click();
  }
  showAnew('saved');
}

export function prepareBackup(): void {
  input('to-folder').disabled = !canChooseFolders();
  element('#no-folders').hidden = canChooseFolders();
  onSubmit('destination', takeDestination);
  onSubmit('digits-which', async () => {
    openers.clear();
    if (chosen('which') === 'separate') return giveDigits(newBackupKey());
    askPassword({
      passwordNote: texts.forDigits,
      opened: async (key, opener) => {
        openers.add(opener);
        giveDigits(key);
      },
      closed: () => showAnew('closed'),
    });
  });
  onSubmit('replace', async () => {
    if (!input('agree').checked) throw new FieldProblem('agree', texts.agree);
    replacing = true;
    show('new-password');
  });
  onSubmit('new-password', register);
  onSubmit('saving', write);
  onClick('#closed-anew', beginBackup);
}

/** What follows the step `opener` of a backup. */
export async function chooseOpener(): Promise<void> {
  const opener = chosenOpener();
  openers.clear();
  if (isThere) openExisting(opener);
  else if (opener === 'password') await takePassword();
  else await takeDigits();
}
