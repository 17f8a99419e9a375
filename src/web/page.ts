/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/// <reference lib="dom.asynciterable" />
import { renderSVG } from 'uqr';
import {
  BackupError,
  backupEntries,
  type Destination,
  restoreEntries,
  type SourceEntry,
} from '../backup/index.js';
import {
  BkvError,
  formatKey,
  Locked,
  newBackupKey,
  parseKey,
  passwordStrength,
  VaultClient,
  WrongPassword,
} from '../client/index.js';
import type { Storage } from '../storage/index.js';
import { ArchiveStorage, DirectoryStorage } from './storages.js';

const element = <T extends HTMLElement = HTMLElement>(selector: string): T =>
  document.querySelector(selector) as T;
const input = (id: string): HTMLInputElement => element<HTMLInputElement>(`#${id}`);
const chosen = (name: string): string => element<HTMLInputElement>(`input[name=${name}]:checked`).value;
const say = (text: string): void => {
  element('#status').textContent = text;
};
const bar = element<HTMLProgressElement>('#progress');
const progress = (done: number, total: number): void => {
  bar.hidden = false;
  bar.value = total === 0 ? 1 : done / total;
};

type Picker = { showDirectoryPicker?(options: object): Promise<FileSystemDirectoryHandle> };
const picker = window as Picker;

/** The key that this device has, as the messenger's own program would keep it in the device's key store. */
let deviceKey: Uint8Array | undefined;

/** What the messenger's own program would have: the vault's pinned key, and a session of the account. */
async function vault(): Promise<VaultClient> {
  const account = input('account').value;
  const { serverPublicKey } = (await (await fetch('/demo/config')).json()) as { serverPublicKey: string };
  return new VaultClient({
    url: location.origin,
    serverPublicKey: Uint8Array.from(atob(serverPublicKey), (char) => char.charCodeAt(0)),
    accessToken: async () =>
      (
        await fetch('/demo/login', {
          method: 'POST',
          headers: { 'content-type': 'text/plain' },
          body: account,
        })
      ).text(),
  });
}

function* entries(files: readonly File[]): Generator<SourceEntry> {
  const byName = new Map(files.map((file) => [file.name, file]));
  for (const path of [...byName.keys()].sort()) {
    const file = byName.get(path) as File;
    const { size, lastModified: mtime } = file;
    yield {
      path,
      type: 'file',
      mode: 0o600,
      mtime,
      size,
      open: async () => {
        let at = 0;
        return {
          read: async (into) => {
            const piece = new Uint8Array(await file.slice(at, at + into.length).arrayBuffer());
            into.set(piece);
            at += piece.length;
            return piece.length;
          },
          close: async () => undefined,
        };
      },
    };
  }
}

/** Runs what a form does, with its button off, and tells what went wrong. */
async function busy(
  form: HTMLFormElement,
  tell: (text: string) => void,
  work: () => Promise<void>,
): Promise<void> {
  const button = form.querySelector('button[type=submit]') as HTMLButtonElement;
  button.disabled = true;
  tell('');
  try {
    await work();
  } catch (error) {
    tell(words(error));
  } finally {
    button.disabled = false;
    bar.hidden = true;
  }
}

function words(error: unknown): string {
  if (error instanceof WrongPassword) {
    const left = error.attemptsRemaining;
    if (left === 0)
      return 'That password is wrong, and it was the last attempt. The backup is closed for ever.';
    return `That password is wrong. ${left === 1 ? 'One attempt is' : `${left} attempts are`} left.`;
  }
  if (error instanceof Locked)
    return 'Too many wrong passwords: this backup is closed for ever. Begin a new one on the device that has your files.';
  if (error instanceof BkvError || error instanceof BackupError) return `${error.message}.`;
  if (error instanceof DOMException && error.name === 'AbortError') return 'No folder was chosen.';
  return 'That did not work. Nothing is lost; try again.';
}

function download(name: string, content: Blob): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function showDigits(key: Uint8Array): void {
  const digits = formatKey(key);
  element('#digits pre').textContent = digits;
  const code = new DOMParser().parseFromString(
    renderSVG(digits.replace(/\s/g, '')),
    'image/svg+xml',
  ).documentElement;
  code.setAttribute('role', 'img');
  code.setAttribute('aria-label', 'QR code of the same digits');
  element('#digits .code').replaceChildren(code);
  element('#digits').hidden = false;
  element('#digits h3').focus();
}

input('account').addEventListener('change', () => {
  deviceKey?.fill(0);
  deviceKey = undefined;
});

for (const radio of document.querySelectorAll<HTMLInputElement>('input[name=kind]'))
  radio.addEventListener('change', () => {
    element('#password-choice').hidden = chosen('kind') !== 'password';
  });

input('new-password').addEventListener('input', async () => {
  const password = input('new-password').value;
  if (!password) {
    element('#strength').textContent = '';
    return;
  }
  const { score, advice } = await passwordStrength(password);
  if (password !== input('new-password').value) return;
  const word = ['very weak', 'weak', 'fair', 'good', 'strong'][score];
  element('#strength').textContent = `This password is ${word}. ${advice.join(' ')}`;
});

if (!picker.showDirectoryPicker) {
  input('to-folder').disabled = true;
  element<HTMLButtonElement>('#open-folder').disabled = true;
}

element<HTMLFormElement>('#backup').addEventListener('submit', (event) => {
  event.preventDefault();
  element('#digits').hidden = true;
  void busy(event.target as HTMLFormElement, say, async () => {
    const files = [...(input('files').files ?? [])];
    const byPassword = chosen('kind') === 'password';
    const password = input('new-password').value;
    if (byPassword && (await passwordStrength(password)).score === 0)
      throw new BkvError(
        'InvalidPassword',
        'This password is among the first that are guessed; choose another',
      );
    const archive = chosen('where') === 'download' ? new ArchiveStorage() : undefined;
    // Asked before anything that takes time: a browser opens it only right after a click.
    const storage: Storage =
      archive ??
      new DirectoryStorage(
        (await picker.showDirectoryPicker?.({ mode: 'readwrite' })) as FileSystemDirectoryHandle,
      );
    deviceKey ??= newBackupKey();
    if (byPassword) await (await vault()).register(password, deviceKey);
    say('Encrypting …');
    const total = files.reduce((sum, { size }) => sum + size, 0);
    const summary = await backupEntries(() => entries(files), total, storage, deviceKey, { progress });
    if (!byPassword) showDigits(deviceKey);
    if (archive) download('backup.bkv', new Blob([archive.archive()]));
    say(
      `${summary.files} files are backed up.${byPassword ? ' Your password opens them, and nothing else.' : ''}`,
    );
  });
});
element('#print').addEventListener('click', () => window.print());

let folder: FileSystemDirectoryHandle | undefined;
element('#open-folder').addEventListener('click', async () => {
  folder = await picker.showDirectoryPicker?.({ mode: 'read' }).catch(() => undefined);
  element('#folder-name').textContent = folder?.name ?? '';
});
input('show-secret').addEventListener('change', () => {
  input('secret').type = input('show-secret').checked ? 'text' : 'password';
});

/** Restored files, shown with a link each, pictures as such. */
function shelf(list: HTMLElement): Destination {
  return {
    make: async () => undefined,
    begin: async ({ path }) => {
      const pieces: Uint8Array<ArrayBuffer>[] = [];
      return {
        write: async (piece) => void pieces.push(Uint8Array.from(piece)),
        discard: async () => undefined,
        end: async () => {
          const isPicture = /\.(jpe?g|png|gif|webp|avif)$/i.test(path);
          const url = URL.createObjectURL(new Blob(pieces));
          const link = Object.assign(document.createElement('a'), {
            href: url,
            download: path,
            textContent: path,
          });
          const item = document.createElement('li');
          item.append(link);
          if (isPicture) item.append(Object.assign(document.createElement('img'), { src: url, alt: '' }));
          list.append(item);
        },
      };
    },
  };
}

element<HTMLFormElement>('#restore').addEventListener('submit', (event) => {
  event.preventDefault();
  const list = element('#restored ul');
  list.replaceChildren();
  element('#restored').hidden = true;
  const tell = (text: string) => {
    element('#restore-error').textContent = text;
    if (text) say('');
  };
  void busy(event.target as HTMLFormElement, tell, async () => {
    const [file] = input('archive').files ?? [];
    if (!file && !folder) throw new BackupError('Choose the file or the folder of the backup first');
    const storage = file
      ? open(await file.arrayBuffer())
      : new DirectoryStorage(folder as FileSystemDirectoryHandle);
    const secret = input('secret').value;
    const isKey = /^[0-9a-f\s-]{64,}$/i.test(secret);
    say(isKey ? 'Restoring …' : 'Asking the vault …');
    deviceKey = isKey ? parseKey(secret) : await (await vault()).recover(secret);
    say('Restoring …');
    const { files, damaged } = await restoreEntries(storage, shelf(list), deviceKey, { progress });
    element('#restored').hidden = false;
    element('#restored h3').focus();
    say(
      `${files} files are restored.${damaged.length > 0 ? ` ${damaged.length} are damaged and were left out.` : ''}`,
    );
    input('secret').value = '';
  });
});

function open(content: ArrayBuffer): Storage {
  try {
    return new ArchiveStorage(new Uint8Array(content));
  } catch {
    throw new BackupError('This file is not a backup, or it is damaged');
  }
}
