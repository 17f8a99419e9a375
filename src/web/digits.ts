import { formatKey, isLineOf } from '../client/index.js';
import { drawCode } from './qr.js';
import { element, input, onBack, onClick, onSubmit, show } from './steps.js';
import { FieldProblem, texts } from './words.js';

const LABEL = 'QR code of the same digits';
let lines: string[] = [];
let asked = 0;
let confirmed: () => Promise<void>;

/** Shows a key as 64 digits, and goes on once a line of it was typed back. */
export function showDigits(key: Uint8Array, then: () => Promise<void>): void {
  const digits = formatKey(key);
  lines = digits.split('\n');
  asked = Math.floor(Math.random() * lines.length);
  confirmed = then;
  element('#digits').textContent = digits;
  element('#code').replaceChildren(drawCode(digits.replace(/\s/g, ''), LABEL));
  element('#line-number').textContent = String(asked + 1);
  show('digits-show');
}

/** Takes the digits out of the page. */
export function clearDigits(): void {
  lines = [];
  element('#digits').textContent = '';
  element('#code').replaceChildren();
  input('line').value = '';
}

export function prepareDigits(): void {
  onBack('digits-show', clearDigits);
  onClick('#print', () => print());
  onSubmit('digits-show', async () => show('digits-confirm'));
  onSubmit('digits-confirm', async () => {
    if (!isLineOf(input('line').value, lines[asked] as string))
      throw new FieldProblem('line', texts.wrongLine(asked + 1));
    await confirmed();
  });
}
