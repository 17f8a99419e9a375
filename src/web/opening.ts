import { BkvError, Locked, looksLikeKey, parseKey, VaultError, WrongPassword } from '../client/index.js';
import { account } from './account.js';
import { readCamera, readCode } from './qr.js';
import { chosen, complain, element, input, onBack, onClick, onSubmit, run, show } from './steps.js';
import { FieldProblem, Problem, sentence, texts } from './words.js';

/** What opens a backup. Later kinds are added here, and as a choice of the step `opener`. */
export type Opener = 'password' | 'digits';

/** Why a backup is opened, and what follows. */
export interface Purpose {
  readonly passwordNote: string;
  /** what the person can do who does not know the password any more */
  readonly forgotten?: () => void;
  /** Takes the key (32 bytes). @throws Problem when it is another backup's */
  opened(key: Uint8Array, opener: Opener): Promise<void>;
  /** after too many wrong passwords */
  readonly closed: () => void;
}

let purpose: Purpose;
let scanning: AbortController | undefined;

const typed = (): HTMLTextAreaElement => element<HTMLTextAreaElement>('#typed-digits');

/** Has the person type the password. */
export function askPassword(why: Purpose): void {
  purpose = why;
  element('#password-note').textContent = why.passwordNote;
  element('#forgotten').hidden = !why.forgotten;
  show('password');
}

/** Has the person type or scan the 64 digits. */
export function askDigits(why: Purpose): void {
  purpose = why;
  element('#scan-status').textContent = '';
  show('digits-enter');
}

export const chosenOpener = (): Opener => chosen('opener') as Opener;

async function recover(password: string): Promise<Uint8Array | undefined> {
  try {
    return await account.recover(password);
  } catch (error) {
    const isOver =
      error instanceof Locked || (error instanceof WrongPassword && error.attemptsRemaining === 0);
    if (!isOver) {
      if (error instanceof VaultError && (error.status === 0 || error.status >= 500))
        throw new Problem(texts.unsure);
      if (error instanceof WrongPassword) {
        input('secret').value = '';
        input('secret').focus();
      }
      throw error;
    }
    input('secret').value = '';
    purpose.closed();
    return undefined;
  }
}

/** Digits never go to the vault as a password: they are put where they belong. */
function moveDigits(text: string): void {
  input('secret').value = '';
  askDigits(purpose);
  typed().value = text;
  complain('digits-enter', new Problem(texts.looksLikeDigits));
  typed().focus();
}

function readDigits(text: string): Uint8Array {
  try {
    return parseKey(text);
  } catch (error) {
    if (error instanceof BkvError) throw new FieldProblem('typed-digits', sentence(error.message));
    throw error;
  }
}

function fill(text: string): boolean {
  try {
    parseKey(text).fill(0);
  } catch {
    element('#scan-status').textContent = texts.otherCode;
    return false;
  }
  typed().value = text.match(/.{1,18}/g)?.join('\n') ?? text;
  element('#scan-status').textContent = texts.scanned;
  return true;
}

async function scan(): Promise<void> {
  const stopping = new AbortController();
  scanning = stopping;
  element('#viewfinder').hidden = false;
  element('#scan').hidden = true;
  element('#stop-scan').focus();
  element('#scan-status').textContent = texts.scanning;
  try {
    await readCamera(element<HTMLVideoElement>('#camera'), stopping.signal, fill);
  } catch {
    element('#scan-status').textContent = texts.noCamera;
  }
  const stopped = stopping.signal.aborted;
  stopScan();
  if (stopped) element('#scan-status').textContent = '';
}

/** Turns the camera off. */
export function stopScan(): void {
  if (!scanning) return;
  scanning.abort();
  scanning = undefined;
  const hadFocus = element('#viewfinder').contains(document.activeElement);
  element('#viewfinder').hidden = true;
  element('#scan').hidden = false;
  if (hadFocus) element('#digits-enter button[type=submit]').focus();
}

async function readPicture(): Promise<void> {
  const [file] = input('code-picture').files ?? [];
  if (!file) return;
  const status = element('#scan-status');
  try {
    const picture = await createImageBitmap(file);
    const text = readCode(picture);
    picture.close();
    if (text === undefined) status.textContent = texts.noCode;
    else fill(text);
  } catch {
    status.textContent = texts.noCode;
  }
  input('code-picture').value = '';
}

export function prepareOpening(): void {
  onSubmit('password', async (outlet) => {
    const password = input('secret').value;
    if (password === '') throw new FieldProblem('secret', texts.emptyPassword);
    if (looksLikeKey(password)) return moveDigits(password);
    outlet.say('Checking the password …');
    const key = await recover(password);
    if (!key) return;
    input('secret').value = '';
    await purpose.opened(key, 'password');
  });
  onSubmit('digits-enter', async () => {
    stopScan();
    const key = readDigits(typed().value);
    await purpose.opened(key, 'digits');
    typed().value = '';
  });
  onBack('password', () => {
    input('secret').value = '';
  });
  onBack('digits-enter', () => {
    stopScan();
    typed().value = '';
  });
  onClick('#forgotten', () => purpose.forgotten?.());
  onClick('#scan', () => void scan());
  onClick('#stop-scan', stopScan);
  input('code-picture').addEventListener('change', () => void run('digits-enter', readPicture));
  if (!navigator.mediaDevices?.getUserMedia) element('#scan').hidden = true;
}
