import { account } from './account.js';
import { beginBackup, chooseOpener, prepareBackup } from './backing-up.js';
import { prepareChanging } from './changing.js';
import { clearDigits, prepareDigits } from './digits.js';
import { prepareFiles } from './files.js';
import { clearPieces, prepareMaking } from './making.js';
import { clearNewPassword, prepareNewPassword } from './new-password.js';
import { clearOpening, prepareOpening } from './opening.js';
import { beginRestore, clearRestored, openRestore, prepareRestore } from './restoring.js';
import { prepareScanning } from './scanning.js';
import {
  element,
  input,
  onClick,
  onHome,
  onSubmit,
  prepareSteps,
  show,
  showAnew,
  taskUnderWay,
} from './steps.js';
import { prepareWays } from './ways.js';
import { FieldProblem, texts } from './words.js';

/** Takes every secret out of the page. */
function forget(): void {
  clearDigits();
  clearNewPassword();
  clearOpening();
  clearPieces();
}

prepareSteps();
prepareScanning();
prepareOpening();
prepareMaking();
prepareChanging();
prepareWays();
prepareNewPassword();
prepareDigits();
prepareFiles();
prepareBackup();
prepareRestore();

onSubmit('home', async (_outlet, button) => {
  const name = input('account').value.trim();
  if (name === '') throw new FieldProblem('account', texts.emptyAccount);
  account.signIn(name);
  element('#signed-in strong').textContent = name;
  // For password managers: whose password it is.
  for (const field of document.querySelectorAll<HTMLInputElement>('input[name=username]')) field.value = name;
  if (button?.value === 'restore') beginRestore();
  else beginBackup();
});
onSubmit('opener', () => (taskUnderWay() === 'Back up' ? chooseOpener() : openRestore()));
onClick('.home', () => showAnew('home'));
onHome(() => {
  forget();
  account.guesses = 0;
  clearRestored();
});
// The browser may keep the page in order to go back to it; it must not keep secrets.
addEventListener('pagehide', () => {
  forget();
  account.opener = undefined;
});
addEventListener('pageshow', (event) => {
  if (event.persisted) location.reload();
});

show('home');
