import { passwordStrength, preparePassword } from '../client/index.js';
import { element, input, onBack } from './steps.js';
import { FieldProblem, Problem, sentence, texts } from './words.js';

const WORDS = ['very weak', 'weak', 'fair', 'good', 'strong'];

/** The weak password that was warned of: it is accepted when it is sent a second time. */
let warnedOf: string | undefined;

async function strengthOf(password: string) {
  try {
    return await passwordStrength(password, ['backup']);
  } catch (error) {
    throw new Problem(texts.strengthUnavailable, { cause: error });
  }
}

async function rate(): Promise<void> {
  const password = input('new-secret').value;
  const said = element('#strength');
  if (!password) said.textContent = '';
  else {
    const { score, advice } = await strengthOf(password);
    if (password === input('new-secret').value)
      said.textContent = `This password is ${WORDS[score]}. ${advice.join(' ')}`;
  }
}

/** The new password, once it is strong enough and was typed twice. @throws FieldProblem, Problem */
export async function takeNewPassword(): Promise<string> {
  const password = input('new-secret').value;
  if (password === '') throw new FieldProblem('new-secret', texts.emptyPassword);
  try {
    preparePassword(password).fill(0);
  } catch (error) {
    throw new FieldProblem('new-secret', sentence((error as Error).message));
  }
  if (password !== input('new-again').value) throw new FieldProblem('new-again', texts.differ);
  const { score } = await strengthOf(password);
  if (score === 0) throw new FieldProblem('new-secret', texts.tooWeak);
  if (score === 1 && warnedOf !== password) {
    warnedOf = password;
    throw new Problem(texts.weak);
  }
  return password;
}

export function clearNewPassword(): void {
  warnedOf = undefined;
  for (const id of ['new-secret', 'new-again']) input(id).value = '';
  element('#strength').textContent = '';
}

export function prepareNewPassword(): void {
  onBack('new-password', clearNewPassword);
  input('new-secret').addEventListener('input', () => void rate().catch(() => undefined));
}
