import { type Opener, openerKinds } from '../backup/index.js';
import {
  BkvError,
  gather,
  joinPieces,
  Locked,
  looksLikeKey,
  openPasskey,
  parseKey,
  VaultError,
  WrongPassword,
} from '../client/index.js';
import type { Storage } from '../storage/storage.js';
import { account } from './account.js';
import { placeScanner, stopScan } from './scanning.js';
import {
  chosen,
  complain,
  element,
  input,
  type Outlet,
  onBack,
  onClick,
  onSubmit,
  sayWhile,
  show,
} from './steps.js';
import { opens } from './storages.js';
import { type Way, wayOf } from './way-of.js';
import { FieldProblem, Problem, sentence, texts } from './words.js';

/** Why a backup is opened, and what follows. */
export interface Purpose {
  readonly passwordNote: string;
  /** what a user can do who no longer knows the password */
  readonly forgotten?: () => void;
  /** @throws Problem when the opener is another backup's */
  opened(opener: Opener, outlet: Outlet): Promise<void>;
  /** after too many wrong passwords */
  readonly closed: () => void;
}

let purpose: Purpose;
let pieces: string[] = [];

const field = (id: string): HTMLTextAreaElement => element<HTMLTextAreaElement>(`#${id}`);

/** Fills in the choices of the step `opener`. @param ways the possible ones; the first is preselected */
export function offerWays(ways: readonly Way[]): void {
  for (const choice of document.querySelectorAll<HTMLInputElement>('input[name=opener]')) {
    (choice.closest('label') as HTMLElement).hidden = !ways.includes(choice.value as Way);
    if (choice.value === ways[0]) choice.checked = true;
  }
}

/** The ways to open a backup, as far as its storage shows. */
export async function waysOf(storage: Storage): Promise<Way[]> {
  const kinds = await openerKinds(storage);
  return [
    ...(kinds.has('key') || kinds.size === 0 ? (['password', 'digits'] as const) : []),
    ...(['passkey', 'contacts'] as const).filter((kind) => kinds.has(kind)),
  ];
}

export const chosenWay = (): Way => chosen('opener') as Way;

/** Goes on only if the opener opens this backup. @throws Problem */
export async function expectOpens(storage: Storage, opener: Opener): Promise<void> {
  if (!(await opens(storage, opener))) {
    opener.secret.fill(0);
    throw new Problem(texts.otherKey(wayOf(opener)));
  }
  account.opener = opener;
}

/** Has the user open a backup in the way that they chose. */
export function ask(way: Way, why: Purpose): void {
  purpose = why;
  if (way === 'password') askPassword(why);
  else if (way === 'digits') askDigits(why);
  else if (way === 'passkey') show('passkey');
  else {
    pieces = [];
    askPiece();
    show('pieces-enter');
  }
}

/** Has the user type the password. */
export function askPassword(why: Purpose): void {
  purpose = why;
  element('#password-note').textContent = why.passwordNote;
  element('#password-note').classList.remove('warning');
  element('#forgotten').hidden = !why.forgotten;
  show('password');
  void tellLastTry(why);
}

/** Warns before a try if it is the last one. */
async function tellLastTry(why: Purpose): Promise<void> {
  const status = await account.status().catch(() => undefined);
  const isLast = status?.state === 'registered' && status.attemptsRemaining === 1;
  if (!isLast || purpose !== why) return;
  element('#password-note').textContent = texts.lastTry;
  element('#password-note').classList.add('warning');
}

/** Has the user type or scan the 64 digits. */
export function askDigits(why: Purpose): void {
  purpose = why;
  placeScanner('digits-enter', (text) => fill('typed-digits', text, parseKey, 18));
  show('digits-enter');
}

function askPiece(): void {
  const needed = pieces.length > 0 ? gather(pieces).threshold : undefined;
  field('typed-piece').value = '';
  element('#piece-number').textContent = String(pieces.length + 1);
  element('#pieces-so-far').textContent =
    needed === undefined ? texts.firstPiece : texts.nextPiece(pieces.length, needed);
  placeScanner('pieces-enter', (text) => fill('typed-piece', text, (piece) => gather([piece]), 24));
}

async function takePiece(outlet: Outlet): Promise<void> {
  stopScan();
  const gathered = inField('typed-piece', () => gather([...pieces, field('typed-piece').value]));
  pieces.push(field('typed-piece').value);
  if (gathered.pieces < gathered.threshold) {
    askPiece();
    field('typed-piece').focus();
    return;
  }
  const secret = await joinPieces(pieces);
  try {
    await purpose.opened({ kind: 'contacts', secret }, outlet);
  } finally {
    pieces = [];
    askPiece();
  }
}

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

/** Digits never go to the vault as a password: they are moved to the field for digits. */
function moveDigits(text: string): void {
  input('secret').value = '';
  askDigits(purpose);
  field('typed-digits').value = text;
  complain('digits-enter', new Problem(texts.looksLikeDigits));
  field('typed-digits').focus();
}

/** Reads what was typed, and shows errors at its field. */
function inField<T>(id: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof BkvError) throw new FieldProblem(id, sentence(error.message));
    throw error;
  }
}

/** Puts the content of a QR code into a field, in lines of a given length, if it belongs there. */
function fill(id: string, text: string, read: (text: string) => unknown, line: number): boolean {
  try {
    read(text);
  } catch {
    return false;
  }
  field(id).value = text.match(new RegExp(`.{1,${line}}`, 'g'))?.join('\n') ?? text;
  return true;
}

/** Takes every secret that was typed out of the page. */
export function clearOpening(): void {
  stopScan();
  pieces = [];
  input('secret').value = '';
  for (const id of ['typed-digits', 'typed-piece']) field(id).value = '';
}

async function takePassword(outlet: Outlet): Promise<void> {
  const password = input('secret').value;
  if (password === '') throw new FieldProblem('secret', texts.emptyPassword);
  if (looksLikeKey(password)) return moveDigits(password);
  const secret = await sayWhile(outlet, 'Checking the password …', () => recover(password));
  if (!secret) return;
  input('secret').value = '';
  await purpose.opened({ kind: 'key', form: 'password', secret }, outlet);
}

export function prepareOpening(): void {
  onSubmit('password', takePassword);
  onSubmit('digits-enter', async (outlet) => {
    stopScan();
    const secret = inField('typed-digits', () => parseKey(field('typed-digits').value));
    await purpose.opened({ kind: 'key', form: 'digits', secret }, outlet);
    field('typed-digits').value = '';
  });
  onSubmit('passkey', async (outlet) => {
    outlet.say('Your browser asks you for the passkey …');
    await purpose.opened({ kind: 'passkey', ...(await openPasskey()) }, outlet);
  });
  onSubmit('pieces-enter', takePiece);
  for (const step of ['password', 'digits-enter', 'pieces-enter']) onBack(step, clearOpening);
  onClick('#forgotten', () => purpose.forgotten?.());
}
