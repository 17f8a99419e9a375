import { type Chosen, choose, size } from './selection.js';
import { element, input, onClick, onSubmit, run, show } from './steps.js';
import { FieldProblem, Problem, texts } from './words.js';

/** How many names of chosen files are shown. */
const SHOWN = 200;

let files: Chosen[] = [];

export const chosenFiles = (): readonly Chosen[] => files;

/** Bytes of all that was chosen. */
export const totalSize = (): number => files.reduce((sum, { file }) => sum + file.size, 0);

export function clearFiles(): void {
  files = [];
  showChosen();
}

function showChosen(): void {
  element('#chosen').hidden = files.length === 0;
  element('#chosen-count').textContent = files.length
    ? `${files.length === 1 ? '1 file' : `${files.length} files`}, ${size(totalSize())}`
    : '';
  element('#renamed').hidden = !files.some(({ renamed }) => renamed);
  const items = files
    .slice(0, SHOWN)
    .map(({ path, file }) =>
      Object.assign(document.createElement('li'), { textContent: `${path}, ${size(file.size)}` }),
    );
  if (files.length > SHOWN)
    items.push(
      Object.assign(document.createElement('li'), { textContent: `and ${files.length - SHOWN} more` }),
    );
  element('#chosen-list').replaceChildren(...items);
}

function add(field: HTMLInputElement): void {
  const added = [...(field.files ?? [])];
  field.value = '';
  void run('files', async () => {
    if (added.length === 0) throw new Problem(texts.noFolderFiles);
    files = choose([...files.map(({ file }) => file), ...added]);
    showChosen();
  });
}

/** The step in which files and folders are chosen, as often as the user likes. */
export function prepareFiles(): void {
  for (const id of ['choose-files', 'choose-folder'])
    input(id).addEventListener('change', () => add(input(id)));
  onClick('#clear-files', () => {
    clearFiles();
    input('choose-files').focus();
  });
  onSubmit('files', async () => {
    if (files.length === 0) throw new FieldProblem('choose-files', texts.noFiles);
    show('destination');
  });
}
