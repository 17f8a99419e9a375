import { account } from './account.js';
import { renewPassword } from './making.js';
import { askPassword } from './opening.js';
import { element, onClick, showAnew } from './steps.js';
import { texts } from './words.js';

/** Has the user choose another password. The key that the vault holds stays, and so does every backup. */
export function changePassword(): void {
  askPassword({
    passwordNote: texts.forChange,
    opened: async ({ secret }) =>
      renewPassword(secret, async () => {
        account.guesses = 0;
        showAnew('changed');
      }),
    closed: () => showAnew('closed'),
  });
}

/** At the end of a task, reports wrong passwords that somebody tried. */
export function tellGuesses(step: string): void {
  const note = element('#guesses');
  note.hidden = account.guesses === 0;
  element('#guesses p').textContent = texts.guesses(account.guesses);
  element(`#${step}-title`).after(note);
}

export function prepareChanging(): void {
  onClick('.change-password', changePassword);
}
