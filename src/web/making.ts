import type { Opener } from '../backup/index.js';
import { codeOfPiece, createPasskey, KeyExists, newBackupKey, splitSecret } from '../client/index.js';
import { account } from './account.js';
import { showDigits } from './digits.js';
import { clearNewPassword, takeNewPassword } from './new-password.js';
import { askPassword } from './opening.js';
import { drawCode } from './qr.js';
import {
  element,
  input,
  nameButton,
  type Outlet,
  onBack,
  onClick,
  onSubmit,
  sayWhile,
  show,
} from './steps.js';
import { FieldProblem, Problem, texts } from './words.js';

/** The purpose for which a new opener is made. */
export interface Making {
  /** text of the last button */
  readonly button: string;
  /** why the account's present password is asked for */
  readonly existing: string;
  /** ids of the existing passkeys */
  readonly passkeys?: readonly string[];
  made(opener: Opener): Promise<void>;
}

/** Steps whose button finishes making an opener. */
const LAST = ['new-password', 'digits-confirm', 'passkey-new', 'pieces-show'];

let making: Making;
/** the key that gets a new password; if unset, a new key is made */
let renewed: Uint8Array | undefined;
/** Whether the user has agreed to lose what the old password opened. */
let replacing = false;

function begin(what: Making): void {
  making = what;
  renewed = undefined;
  replacing = false;
  for (const step of LAST) nameButton(step, what.button);
}

/** The password that the account has, or a new one. */
export async function makePassword(what: Making): Promise<void> {
  begin(what);
  const { state } = await account.status();
  if (state === 'locked') giveUp('locked');
  else if (state === 'unregistered') show('new-password');
  else
    askPassword({
      passwordNote: what.existing,
      opened: what.made,
      forgotten: () => giveUp('forgotten'),
      closed: () => giveUp('locked'),
    });
}

/** Another password for a key that the vault holds. */
export function renewPassword(secret: Uint8Array, made: () => Promise<void>): void {
  begin({ button: 'Change it', existing: '', made });
  renewed = secret;
  replacing = true;
  show('new-password');
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
  const secret = renewed ?? newBackupKey();
  try {
    await sayWhile(outlet, 'Setting up the password …', () => account.register(password, secret, replacing));
  } catch (error) {
    // Another tab or device was faster, or the answer to an earlier try got lost.
    if (!(error instanceof KeyExists)) throw error;
    clearNewPassword();
    return makePassword(making);
  }
  replacing = false;
  clearNewPassword();
  await making.made({ kind: 'key', form: 'password', secret });
}

/** @param digits those to show again; by default new ones are made */
export function makeDigits(what: Making, digits?: Opener): void {
  begin(what);
  const opener = digits ?? { kind: 'key', form: 'digits', secret: newBackupKey() };
  showDigits(opener.secret, () => what.made(opener));
}

export function makePasskey(what: Making): void {
  begin(what);
  show('passkey-new');
}

async function createAndName(outlet: Outlet): Promise<void> {
  const label = input('device').value.trim();
  if (label === '') throw new FieldProblem('device', texts.emptyDevice);
  outlet.say('Your browser asks you for the passkey …');
  const passkey = await createPasskey({
    app: 'Your backup',
    name: `${account.name}, backup, ${label}`,
    exclude: making.passkeys ?? [],
  });
  await making.made({ kind: 'passkey', label, ...passkey });
}

let contacts: Opener;

export function makeContacts(what: Making): void {
  begin(what);
  show('contacts-new');
}

async function splitAmong(): Promise<void> {
  const names = element<HTMLTextAreaElement>('#contacts')
    .value.split('\n')
    .map((name) => name.trim())
    .filter(Boolean);
  if (names.length < 2) throw new FieldProblem('contacts', texts.fewContacts);
  const threshold = Number(element<HTMLSelectElement>('#needed').value);
  if (threshold > names.length) throw new FieldProblem('needed', texts.manyNeeded(names.length));
  const secret = newBackupKey();
  const pieces = await splitSecret(secret, names.length, threshold).catch((cause) => {
    throw new Problem(texts.manyContacts, { cause });
  });
  contacts = { kind: 'contacts', secret, label: names.join(', '), pieces: names.length, threshold };
  const sheets = pieces.map((piece, i) => sheetOf(piece, names[i] as string));
  element('#pieces').replaceChildren(...sheets);
  element('#pieces-needed').textContent = texts.anyOf(threshold, names.length);
  show('pieces-show');
}

/** What one person gets. */
function sheetOf(piece: string, name: string): HTMLElement {
  const sheet = document.createElement('article');
  const title = document.createElement('h2');
  title.textContent = `For ${name}`;
  const text = document.createElement('pre');
  text.textContent = piece;
  const code = document.createElement('div');
  code.className = 'code';
  code.append(drawCode(codeOfPiece(piece), `QR code of the piece for ${name}`));
  sheet.append(title, text, code);
  return sheet;
}

/** Takes the pieces out of the page. */
export function clearPieces(): void {
  element('#pieces').replaceChildren();
  element<HTMLTextAreaElement>('#contacts').value = '';
}

export function prepareMaking(): void {
  const { platform } = (navigator as { userAgentData?: { platform: string } }).userAgentData ?? navigator;
  input('device').value = platform ? `my ${platform} device` : 'this device';
  onSubmit('replace', async () => {
    if (!input('agree').checked) throw new FieldProblem('agree', texts.agree);
    replacing = true;
    show('new-password');
  });
  onSubmit('new-password', register);
  onSubmit('passkey-new', createAndName);
  onSubmit('contacts-new', splitAmong);
  onSubmit('pieces-show', async () => {
    await making.made(contacts);
    clearPieces();
  });
  onBack('pieces-show', () => element('#pieces').replaceChildren());
  onClick('#print-pieces', () => print());
}
