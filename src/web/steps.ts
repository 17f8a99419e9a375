import { Way } from './way.js';
import { FieldProblem, texts, words } from './words.js';

/** Looks up an element of the page. The page is fixed, so the element is there. */
export const element = <T extends HTMLElement = HTMLElement>(selector: string): T =>
  document.querySelector(selector) as T;
export const input = (id: string): HTMLInputElement => element<HTMLInputElement>(`#${id}`);
export const chosen = (name: string): string =>
  element<HTMLInputElement>(`input[name=${name}]:checked`).value;

/** The text under the button that was pressed: what is going on, how far it has come, and what went wrong. */
export interface Outlet {
  say(text: string): void;
  progress(done: number, total: number): void;
}

export type Task = 'Back up' | 'Restore';

interface Parts {
  readonly status: HTMLElement;
  readonly bar: HTMLProgressElement;
  readonly alert: HTMLElement;
}

const parts = new Map<HTMLFormElement, Parts>();
let task: Task = 'Back up';
const whenBack = new Map<string, () => void>();
let running = 0;
let following: (() => void) | undefined;

let atHome = (): void => undefined;

const way = new Way((left) => {
  if (running === 0 && left < way.length) back(left);
});

/** Shows one step, and moves the focus to its heading, so that a screen reader reads it. */
export function show(step: string): void {
  way.to(step);
  reveal(step);
}

/** Shows a step from which Back leads only to the first step. */
export function showAnew(step: string): void {
  way.anew(step);
  reveal(step);
}

/** Says which task is under way, for steps that both tasks have. */
export function setTask(begun: Task): void {
  task = begun;
}

export const taskUnderWay = (): Task => task;

function reveal(step: string): void {
  if (step === 'home') atHome();
  for (const section of document.querySelectorAll<HTMLElement>('main > section'))
    section.hidden = section.id !== step;
  const heading = element(`#${step}-title`);
  const own = element(`#${step}`).dataset.task ?? task;
  if (step !== 'home') heading.dataset.step = own;
  else delete heading.dataset.step;
  element('#signed-in').hidden = step === 'home';
  document.title = `${heading.textContent} – Your backup`;
  for (const form of document.querySelectorAll('form')) quiet(form);
  heading.focus();
  scrollTo(0, 0);
}

function back(left?: number): void {
  for (const step of way.back(left)) whenBack.get(step)?.();
  reveal(way.here);
}

function make(form: HTMLFormElement): Parts {
  const alert = document.createElement('p');
  alert.setAttribute('role', 'alert');
  alert.id = `${form.closest('section')?.id}-alert`;
  const status = document.createElement('p');
  status.setAttribute('role', 'status');
  const bar = document.createElement('progress');
  bar.setAttribute('aria-label', 'Progress');
  bar.max = 1;
  bar.hidden = true;
  form.append(alert, bar, status);
  const made = { status, bar, alert };
  parts.set(form, made);
  return made;
}

const submitOf = (form: HTMLFormElement): HTMLElement =>
  form.querySelector('button[type=submit]') as HTMLElement;

/** Sets the text of a step's button. */
export const nameButton = (step: string, text: string): void => {
  submitOf(formOf(step)).textContent = text;
};

const formOf = (step: string): HTMLFormElement => element<HTMLFormElement>(`#${step} form`);

/** Removes a form's earlier messages. */
function quiet(form: HTMLFormElement): void {
  const { status, bar, alert } = parts.get(form) ?? make(form);
  status.textContent = '';
  alert.textContent = '';
  bar.hidden = true;
  for (const field of form.querySelectorAll('[aria-invalid]')) {
    field.removeAttribute('aria-invalid');
    if (field.getAttribute('aria-describedby') === alert.id) field.removeAttribute('aria-describedby');
  }
}

/** Shows under a step's button what is wrong. */
export function complain(step: string, error: unknown): void {
  const form = formOf(step);
  const { alert, status, bar } = parts.get(form) ?? make(form);
  status.textContent = '';
  bar.hidden = true;
  alert.textContent = words(error);
  alert.scrollIntoView({ block: 'nearest' });
  if (!(error instanceof FieldProblem)) return;
  const field = element(`#${error.field}`);
  field.setAttribute('aria-invalid', 'true');
  if (!field.hasAttribute('aria-describedby')) field.setAttribute('aria-describedby', alert.id);
  field.focus();
}

/** Runs what a step's button does, one at a time, and shows the outcome under the button. */
export async function run(step: string, work: (outlet: Outlet) => Promise<void>): Promise<void> {
  if (running > 0) return;
  const form = formOf(step);
  quiet(form);
  const { status, bar } = parts.get(form) as Parts;
  const outlet: Outlet = {
    say: (text) => {
      status.textContent = text;
    },
    progress: (done, total) => {
      bar.hidden = false;
      bar.value = total === 0 ? 1 : done / total;
    },
  };
  // Not `disabled`, because a disabled button loses keyboard focus.
  const buttons = element(`#${step}`).querySelectorAll('button');
  running++;
  form.setAttribute('aria-busy', 'true');
  for (const button of buttons) button.setAttribute('aria-disabled', 'true');
  try {
    await work(outlet);
  } catch (error) {
    complain(step, error);
  } finally {
    running--;
    form.removeAttribute('aria-busy');
    for (const button of buttons) button.removeAttribute('aria-disabled');
  }
  const next = following;
  following = undefined;
  next?.();
}

/** Says what is going on, and after ten seconds that it still is. */
export async function sayWhile<T>(outlet: Outlet, text: string, work: () => Promise<T>): Promise<T> {
  outlet.say(text);
  const slow = setTimeout(() => outlet.say(`${text} ${texts.slow}`), 10_000);
  try {
    return await work();
  } finally {
    clearTimeout(slow);
  }
}

/** Once what is running is done, goes on with a step that starts by itself and has no way back. */
export function follow(step: string, work: (outlet: Outlet) => Promise<void>): void {
  showAnew(step);
  following = () => void run(step, work);
}

/** What a step's form does when its button is pressed. */
export function onSubmit(
  step: string,
  work: (outlet: Outlet, button: HTMLButtonElement | null) => Promise<void>,
): void {
  formOf(step).addEventListener('submit', (event) => {
    event.preventDefault();
    void run(step, (outlet) => work(outlet, event.submitter as HTMLButtonElement | null));
  });
}

/** Sets what a button outside a form does; it does nothing while something is running. */
export function onClick(selector: string, work: () => void): void {
  for (const button of document.querySelectorAll(selector))
    button.addEventListener('click', () => {
      if (running === 0) work();
    });
}

/** Sets what a step forgets when the user goes back from it. */
export function onBack(step: string, work: () => void): void {
  whenBack.set(step, work);
}

/** Sets what is forgotten whenever the first step is shown. */
export function onHome(work: () => void): void {
  atHome = work;
}

/** Shows a list of the files with which something went wrong, if there are any. */
export function listProblems(
  id: string,
  title: string,
  problems: readonly { path: string; reason: string }[],
): void {
  element(`#${id}`).hidden = problems.length === 0;
  element(`#${id} p`).textContent = title;
  const items = problems.map(({ path, reason }) =>
    Object.assign(document.createElement('li'), { textContent: path || reason }),
  );
  element(`#${id} ul`).replaceChildren(...items);
}

/**
 * Gives each form its two buttons, and sets up Back, "show the password" and the question before the page is
 * left halfway.
 */
export function prepareSteps(): void {
  const { content } = element<HTMLTemplateElement>('#actions');
  for (const form of document.querySelectorAll<HTMLFormElement>('form[data-button]')) {
    form.append(content.cloneNode(true));
    submitOf(form).textContent = form.dataset.button as string;
  }
  onClick('.back', () => back());
  for (const box of document.querySelectorAll<HTMLInputElement>('[data-shows]'))
    box.addEventListener('change', () => {
      for (const id of (box.dataset.shows as string).split(' '))
        input(id).type = box.checked ? 'text' : 'password';
    });
  addEventListener('beforeunload', (event) => {
    if (running > 0) event.preventDefault();
  });
}
