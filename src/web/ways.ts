import {
  addOpener,
  listOpeners,
  type Opener,
  type OpenerInfo,
  openerId,
  removeOpener,
} from '../backup/index.js';
import { passkeysMayOpen } from '../client/index.js';
import { account } from './account.js';
import { changePassword } from './changing.js';
import { clearDigits } from './digits.js';
import { type Making, makeContacts, makeDigits, makePasskey, makePassword } from './making.js';
import { lastUsed, remember, seenEpoch } from './remembered.js';
import { offer } from './shelf.js';
import { chosen, element, input, onClick, onSubmit, run, show, showAnew } from './steps.js';
import { ArchiveStorage, type DirectoryStorage } from './storages.js';
import { nameOf, Problem, texts } from './words.js';

let storage: ArchiveStorage | DirectoryStorage;
let leaving: OpenerInfo;
/** whether the backup is a file, and was changed since it was saved */
let isChanged = false;

const opener = (): Opener => account.opener as Opener;

/** Shows what opens the backup that was just made or opened, including the opener that was used. */
export function showWays(of: ArchiveStorage | DirectoryStorage): void {
  storage = of;
  isChanged = false;
  showAnew('ways');
  void run('ways', async () => list(await listOpeners(storage, opener())));
}

async function list(openers: readonly OpenerInfo[]): Promise<void> {
  const own = await openerId(opener());
  element('#ways-list').replaceChildren(
    ...openers.map((info) => itemOf(info, info.id === own, openers.length > 1)),
  );
  element('#ways-alone').hidden = openers.length > 1;
  element('#ways-file').hidden = !isChanged;
}

function itemOf(info: OpenerInfo, isOwn: boolean, mayGo: boolean): HTMLElement {
  const item = document.createElement('li');
  const about = document.createElement('p');
  const used = lastUsed(info.id);
  about.append(
    Object.assign(document.createElement('strong'), { textContent: nameOf(info) }),
    Object.assign(document.createElement('small'), {
      textContent: `${texts.added(new Date(info.added))} ${isOwn ? texts.usedNow : texts.lastUsed(used)}`,
    }),
  );
  item.append(about);
  if (info.form === 'password') item.append(buttonOf('Change', info, changePassword));
  if (mayGo && !isOwn) item.append(buttonOf('Remove', info, () => askRemoval(info)));
  return item;
}

function buttonOf(text: string, info: OpenerInfo, work: () => void): HTMLElement {
  const button = Object.assign(document.createElement('button'), { type: 'button', textContent: text });
  button.className = 'second';
  button.setAttribute('aria-label', `${text} ${nameOf(info)}`);
  button.addEventListener('click', work);
  return button;
}

function askRemoval(info: OpenerInfo): void {
  leaving = info;
  element('#remove-name').textContent = nameOf(info);
  show('remove-way');
}

/** Shows the openers after a change. A backup in one file is saved again. */
async function changed(openers: readonly OpenerInfo[]): Promise<void> {
  await remember(storage, opener());
  clearDigits();
  if (storage instanceof ArchiveStorage) {
    const link = element<HTMLAnchorElement>('#ways-file a');
    offer(link, 'backup.bkv', new Blob([storage.archive()]));
    link.click();
    isChanged = true;
  }
  showAnew('ways');
  await list(openers);
}

async function add(added: Opener): Promise<void> {
  await changed(await addOpener(storage, opener(), added, { seenEpoch }));
}

async function chooseWay(): Promise<void> {
  if (!(storage instanceof ArchiveStorage)) await storage.allowWriting();
  const there = await listOpeners(storage, opener());
  const passkeys = there.flatMap(({ credential }) => credential ?? []);
  const making: Making = { button: 'Add it', existing: texts.addPassword, passkeys, made: add };
  const way = chosen('another');
  if (way === 'digits') makeDigits(making);
  else if (way === 'passkey') makePasskey(making);
  else if (way === 'contacts') makeContacts(making);
  else if (there.some(({ form }) => form === 'password')) throw new Problem(texts.onePassword);
  else await makePassword(making);
}

export function prepareWays(): void {
  onClick('#add-way-button', () => show('add-way'));
  onSubmit('add-way', chooseWay);
  onSubmit('remove-way', async () => {
    if (!(storage instanceof ArchiveStorage)) await storage.allowWriting();
    const there = await listOpeners(storage, opener());
    // Another tab or device may have been faster.
    const isThere = there.some(({ id }) => id === leaving.id);
    await changed(isThere ? await removeOpener(storage, opener(), leaving.id, { seenEpoch }) : there);
  });
  void passkeysMayOpen().then((may) => {
    input('another-passkey').disabled = !may;
    element('#no-passkeys').hidden = may;
  });
}
