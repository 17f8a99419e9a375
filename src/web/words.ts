import { BackupError, NewerKey, OlderKeys, type OpenerInfo } from '../backup/index.js';
import {
  AccessTokenUnavailable,
  BkvError,
  DeviceTooSlow,
  Locked,
  PasskeyCancelled,
  PasskeyExists,
  PasskeyUnsupported,
  StretchingUnavailable,
  VaultError,
  VaultIdentityMismatch,
  WrongPassword,
} from '../client/index.js';
import { StorageError } from '../storage/storage.js';
import { type Way, wayOf } from './way-of.js';

/** Something is wrong with what was typed into one field. */
export class FieldProblem extends Error {
  constructor(
    readonly field: string,
    message: string,
  ) {
    super(message);
  }
}

/** An error whose message can be shown to the user as it is. */
export class Problem extends Error {}

export const filesAre = (count: number): string => (count === 1 ? '1 file is' : `${count} files are`);

const YOURS: Readonly<Record<Way, string>> = {
  password: 'your password',
  digits: 'your 64 digits',
  passkey: 'your passkey',
  contacts: 'the people you trust',
};
const OTHER: Readonly<Record<Way, string>> = {
  password:
    'The password is right, but this backup was made with another key. No try was lost. If you have its 64 digits, go back and use them.',
  digits: 'These are digits of another backup. Look for those of this one.',
  passkey: 'This passkey opens another backup. Try again, and choose another passkey.',
  contacts: 'These pieces open another backup, or one of them is wrong. Ask for those of this one.',
};

export const texts = {
  noFiles: 'Choose at least one file first.',
  noFolderFiles: 'There are no files in this folder.',
  noBackupChosen: 'Choose the file or the folder of the backup first.',
  notABackup:
    'This file is not a backup, or it is damaged. Choose another file: the name of a backup ends in .bkv.',
  noBackupInFolder: 'There is no finished backup in this folder. Choose the folder that you backed up into.',
  foreignFolder: 'There is something else in this folder. Choose an empty one, or make a new one.',
  tooLarge:
    'These files are too large for one file (more than 1 GB). Go back, and choose a folder for the backup.',
  folderHasBackup:
    'This folder holds a backup already. Open it as you always do, and what is new is added to it.',
  emptyAccount: 'Type the name of your account.',
  emptyPassword: 'The password is empty. Type it first.',
  differ: 'The two passwords are not the same. Type them again.',
  tooWeak: 'This password is among the first that are guessed. Choose another.',
  weak: 'This password is weak. Choose a longer one, or press the button again to use it anyway.',
  looksLikeDigits:
    'This looks like 64 digits, so it was not sent as a password. It was put here instead. If it is right, press Continue.',
  noPassword:
    'This account has no password. Check that it is the right account, or use the 64 digits. Nothing was tried.',
  otherKey: (way: Way): string => OTHER[way],
  cannotStretch:
    'This browser cannot do the calculation that protects your password: it lacks WebAssembly or 64 MB of free memory. If your device is in Lockdown Mode, allow this page. Otherwise close other pages, or use another browser. The vault was not asked, and no try was lost.',
  tooSlow: (seconds: number): string =>
    `This device needs about ${seconds} seconds to check a password, which is longer than the vault waits. Close other pages and programs and try again, or use a faster device. The vault was not asked, and no try was lost.`,
  stretchFailed:
    'This browser ran out of memory part of the way. This may count as one try. Close other pages, and try again.',
  noAnswer: 'The vault did not answer. Check the network, and try again.',
  busy: 'The vault cannot answer just now. Wait a minute, and try again.',
  noSignIn:
    'You could not be signed in. Check the network, and try again. If it still fails, reload the page.',
  notTheVault:
    'Something else answered in place of the vault. Perhaps your network wants you to sign in first. Open another web page to see, and then try again here.',
  otherVault:
    'This is not the vault that the page knows. Nothing was sent to it. Do not try again, but tell whoever gave you this page.',
  slow: 'This takes longer than usual. Leave the page open: it keeps trying.',
  unsure:
    'The connection to the vault broke off. The vault may have counted this as one try. Check the network, and try again.',
  strengthUnavailable: 'The check of new passwords could not be loaded. Check the network, and try again.',
  existing:
    'Your account has a password already, and this backup will open with it. Type it, so that every backup that it opens stays safe.',
  existingFolder: 'Type the password that opens the backup in this folder.',
  forDigits: 'Type your password. The digits of the same key are shown then.',
  forRestore: 'After ten wrong tries it is closed for ever.',
  lastTry: 'One try is left. If it is wrong, this password is closed for ever.',
  forChange: 'First, type the password that you have now.',
  guesses: (count: number): string =>
    `${count === 1 ? 'A wrong password was' : `${count} wrong passwords were`} tried since you last opened your backup. If that was not you, choose a new password now. Make it a long one.`,
  forgotten: 'You are about to put a new password in the place of one that you do not know any more.',
  locked: 'Ten wrong passwords were tried, and the old password is closed for ever.',
  loss: 'No password will ever open what the old one opened: every older backup, on every device. If you have the 64 digits of a backup, they still open it.',
  agree: 'Tick the box first: it says that you know what is lost.',
  wrongLine: (line: number): string => `This is not line ${line}. Compare it with what you wrote down.`,
  openedBy: (ways: readonly Way[]): string => {
    const [first, second] = ways.map((way) => YOURS[way]);
    return second
      ? `${upper(`${first} and ${second} both open it`)}.`
      : `${upper(String(first))} ${ways[0] === 'digits' ? 'open' : 'opens'} it.`;
  },
  alone: (way: Way): string =>
    `If you ${way === 'password' ? 'forget' : 'lose'} ${YOURS[way]}, nobody can open the backup. A second way makes it safe.`,
  addLater: 'You can add a second way afterwards, so that losing one loses nothing.',
  emptyDevice: 'Type a name by which you know this device.',
  fewContacts: 'Type the names of at least two people, one in a line.',
  manyContacts: 'A key can be split among 20 people at most.',
  manyNeeded: (people: number): string => `There are only ${people} people. Choose a smaller number.`,
  anyOf: (threshold: number, people: number): string =>
    `Give each person their piece. Any ${threshold} of the ${people} open the backup together; fewer cannot, and learn nothing.`,
  firstPiece: 'Ask the people who have a piece for it. Make sure that they know it is you who asks.',
  nextPiece: (has: number, needed: number): string =>
    `${has === 1 ? '1 piece is' : `${has} pieces are`} right, of ${needed} that are needed. Now the next one.`,
  addPassword: 'Your account has a password already. Type it, and it opens this backup, too.',
  onePassword: 'Your password opens this backup already.',
  added: (date: Date): string => `Added on ${dateOf(date)}.`,
  usedNow: 'You opened the backup with it just now.',
  lastUsed: (date: Date | undefined): string =>
    date ? `Last used on this device on ${dateOf(date)}.` : 'Never used on this device.',
  olderKeys:
    'This is an older copy of your backup. A way to open it was changed since, so nothing is written here. Use the newer copy.',
  newerKey:
    'What you opened the backup with was removed from it, so nothing can be added with it. Open it in another way.',
  noPrf:
    'The passkeys of this device or browser cannot lock files. Nothing was made that depends on one. Go back, and choose another way.',
  noPasskeyUsed: 'No passkey was used. Try again, or go back and choose another way.',
  passkeyThere: 'This device has a passkey for this backup already.',
  savedDownload:
    'The file backup.bkv is with your downloads. Keep it somewhere safe, not only on this device.',
  savedFolder: (name: string): string => `It is in the folder ${name}. Next time only what changed is added.`,
  unsaved: (count: number): string =>
    count === 0
      ? ''
      : count === 1
        ? 'It is only on this page so far. Press its name to save it.'
        : 'They are only on this page so far. Save them before you leave it.',
  noCamera:
    'The camera cannot be used. Allow it in the browser, or choose a picture of the code, or type the digits.',
  noCode: 'No QR code was found in this picture. Try one that is sharp and straight.',
  otherCode: 'This QR code holds something else.',
  scanned: 'The code was read. The digits are filled in.',
  scanning: 'Hold the code in front of the camera.',
} as const;

/** What to tell the user about the browser's own errors. */
const BROWSER: Readonly<Record<string, string>> = {
  AbortError: 'No folder was chosen.',
  NotAllowedError: 'The browser was not allowed to do that. Try again, and allow it.',
  NotReadableError: 'A file could not be read any more. Go back, and choose it again.',
  NotFoundError: 'A file or a folder is not there any more. Go back, and choose it again.',
  NoModificationAllowedError: 'This folder cannot be written to. Choose another.',
  InvalidModificationError: 'This folder cannot be written to. Choose another.',
  QuotaExceededError: 'There is no room left there. Delete something there, and try again.',
};

const upper = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** A message of the library as a sentence. */
export const sentence = (text: string): string => (/[.!?]$/.test(text) ? upper(text) : `${upper(text)}.`);

const dateOf = (date: Date): string =>
  Number.isNaN(date.getTime()) ? 'an unknown day' : date.toLocaleDateString('en', { dateStyle: 'long' });

/** What users call an opener of a backup. */
export function nameOf({ label, threshold, pieces, ...info }: OpenerInfo): string {
  const names: Record<Way, string> = {
    password: 'Your password',
    digits: label ? `64 digits (${label})` : '64 digits',
    passkey: label ? `Passkey of ${label}` : 'A passkey',
    contacts: `${threshold} of ${pieces} people: ${label}`,
  };
  return names[wayOf(info)];
}

function vaultWords({ status, message }: VaultError): string {
  if (status === 0) return texts.noAnswer;
  if (status === 401) return texts.noSignIn;
  if (status === 429) return 'There were too many requests. Wait a minute, and try again.';
  if (status >= 500) return texts.busy;
  if (status < 300 || status === 404) return texts.notTheVault;
  return sentence(message);
}

/** What went wrong, in words for the user. */
export function words(error: unknown): string {
  if (error instanceof FieldProblem || error instanceof Problem) return error.message;
  if (error instanceof WrongPassword) {
    const left = error.attemptsRemaining;
    const warning = left <= 3 ? ' After that it is closed for ever.' : '';
    return `That password is wrong. ${left === 1 ? 'One try is' : `${left} tries are`} left.${warning}`;
  }
  if (error instanceof Locked) return texts.locked;
  if (error instanceof StretchingUnavailable) return texts.cannotStretch;
  if (error instanceof DeviceTooSlow) return texts.tooSlow(Math.ceil(error.needed / 1000));
  if (error instanceof PasskeyUnsupported) return texts.noPrf;
  if (error instanceof PasskeyCancelled) return texts.noPasskeyUsed;
  if (error instanceof PasskeyExists) return texts.passkeyThere;
  if (error instanceof OlderKeys) return texts.olderKeys;
  if (error instanceof NewerKey) return texts.newerKey;
  if (error instanceof AccessTokenUnavailable) return texts.noSignIn;
  if (error instanceof VaultIdentityMismatch) return texts.otherVault;
  if (error instanceof VaultError) return vaultWords(error);
  if (error instanceof BkvError || error instanceof BackupError || error instanceof StorageError)
    return sentence(error.message);
  if (error instanceof DOMException) return BROWSER[error.name] ?? sentence(error.message);
  return 'That did not work. Try again; if it still fails, reload the page.';
}
