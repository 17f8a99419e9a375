import { addOpener, backupEntries, type Opener } from '../backup/index.js';
import { passkeysMayOpen } from '../client/index.js';
import { account } from './account.js';
import { tellGuesses } from './changing.js';
import { clearDigits } from './digits.js';
import { chosenFiles, clearFiles, totalSize } from './files.js';
import { canChooseFolders, chooseFolder } from './folder.js';
import { type Making, makeDigits, makePasskey, makePassword } from './making.js';
import { ask, chosenWay, expectOpens, offerWays, waysOf } from './opening.js';
import { remember, seenEpoch } from './remembered.js';
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
import { ArchiveStorage, contentOf, type DirectoryStorage } from './storages.js';
import { type Way, wayOf } from './way-of.js';
import { showWays } from './ways.js';
import { filesAre, Problem, texts } from './words.js';

/** Most bytes of a backup in one file, because it is made in memory. */
const ARCHIVE_LIMIT = 1e9;

let storage: ArchiveStorage | DirectoryStorage;
/** whether there is a backup at the destination; it then has a key already */
let isThere = false;
/** what else opens the backup, besides the opener with which it is made */
let others: Opener[] = [];

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
  element('#opener-note').textContent = isThere ? texts.folderHasBackup : texts.addLater;
  element('#opener-note').hidden = false;
  offerWays(isThere ? await waysOf(storage) : await waysToMake());
  show('opener');
}

/** Contacts are offered as a second way only: whoever makes a backup should be able to open it alone. */
const waysToMake = async () =>
  (await passkeysMayOpen())
    ? (['password', 'digits', 'passkey'] as const)
    : (['password', 'digits'] as const);

const making = (more: readonly Opener[] = []): Making => ({
  button: 'Back up',
  existing: texts.existing,
  made: async (opener) => {
    const [first, ...rest] = [...more, opener];
    account.opener = first;
    others = rest;
    clearDigits();
    follow('saving', write);
  },
});

/**
 * Makes new digits. If the vault holds a key under a password, the user says whether that is to open this
 * backup too.
 */
async function takeDigits(): Promise<void> {
  const { opener } = account;
  if (opener?.form === 'digits') return makeDigits(making(), opener);
  // Digits need no vault: if it does not answer, they are the only opener.
  const state = await account.status().then(
    (status) => status.state,
    () => 'unknown',
  );
  if (state === 'registered') show('digits-which');
  else makeDigits(making());
}

async function takeWhich(): Promise<void> {
  if (chosen('which') === 'separate') return makeDigits(making());
  ask('password', {
    passwordNote: texts.forDigits,
    opened: async (password) => makeDigits(making([password])),
    closed: () => showAnew('closed'),
  });
}

async function write(outlet: Outlet): Promise<void> {
  outlet.say(`${filesAre(chosenFiles().length)} being encrypted …`);
  const opener = account.opener as Opener;
  const { files, leftOut } = await backupEntries(() => entries(chosenFiles()), totalSize(), storage, opener, {
    progress: outlet.progress,
    seenEpoch,
  });
  for (const other of others) await addOpener(storage, opener, other, { seenEpoch });
  await remember(storage, opener);
  listProblems('left-out', `${filesAre(leftOut.length)} not in it, and could not be read:`, leftOut);
  showSaved(files);
}

function showSaved(count: number): void {
  element('#saved-title').textContent = `${filesAre(count)} backed up`;
  const ways = [account.opener as Opener, ...others].map(wayOf);
  element('#saved-opens').textContent = texts.openedBy(ways);
  element('#saved-alone').textContent = texts.alone(ways[0] as Way);
  element('#saved-alone').hidden = isThere || ways.length > 1;
  element('#saved-where').textContent =
    storage instanceof ArchiveStorage ? texts.savedDownload : texts.savedFolder(storage.name);
  element('#save-again').hidden = !(storage instanceof ArchiveStorage);
  if (storage instanceof ArchiveStorage) {
    const link = element<HTMLAnchorElement>('#save-again a');
    offer(link, 'backup.bkv', new Blob([storage.archive()]));
    link.click();
  }
  tellGuesses('saved');
  showAnew('saved');
}

/** Goes on from the step `opener` of a backup. */
export async function chooseOpener(): Promise<void> {
  const way = chosenWay();
  others = [];
  if (isThere)
    return ask(way, {
      passwordNote: texts.existingFolder,
      opened: async (opener) => {
        await expectOpens(storage, opener);
        follow('saving', write);
      },
      closed: () => showAnew('closed'),
    });
  if (way === 'password') await makePassword(making());
  else if (way === 'passkey') makePasskey(making());
  else await takeDigits();
}

export function prepareBackup(): void {
  input('to-folder').disabled = !canChooseFolders();
  element('#no-folders').hidden = canChooseFolders();
  onSubmit('destination', takeDestination);
  onSubmit('digits-which', takeWhich);
  onSubmit('saving', write);
  onClick('#saved-ways', () => showWays(storage));
  onClick('#closed-again', beginBackup);
}
