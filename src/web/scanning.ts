import { readCamera, readCode } from './qr.js';
import { element, input, onClick, run } from './steps.js';
import { texts } from './words.js';

/** Takes the content of a QR code. @returns whether it was what is looked for */
type Take = (text: string) => boolean;

let take: Take = () => false;
let step = '';
let scanning: AbortController | undefined;

const say = (text: string): void => {
  element('#scan-status').textContent = text;
};

function taken(text: string): boolean {
  const isRight = take(text);
  say(isRight ? texts.scanned : texts.otherCode);
  return isRight;
}

/** Puts the camera and the choice of a picture into a step. */
export function placeScanner(into: string, whenRead: Take): void {
  take = whenRead;
  step = into;
  element(`#${into} form .actions`).before(element('#scanner'));
  say('');
}

async function scan(): Promise<void> {
  const stopping = new AbortController();
  scanning = stopping;
  element('#viewfinder').hidden = false;
  element('#scan').hidden = true;
  element('#stop-scan').focus();
  say(texts.scanning);
  try {
    await readCamera(element<HTMLVideoElement>('#camera'), stopping.signal, taken);
  } catch {
    say(texts.noCamera);
  }
  const stopped = stopping.signal.aborted;
  stopScan();
  if (stopped) say('');
}

/** Turns the camera off. */
export function stopScan(): void {
  if (!scanning) return;
  scanning.abort();
  scanning = undefined;
  const hadFocus = element('#viewfinder').contains(document.activeElement);
  element('#viewfinder').hidden = true;
  element('#scan').hidden = false;
  if (hadFocus) element(`#${step} button[type=submit]`).focus();
}

async function readPicture(): Promise<void> {
  const [file] = input('code-picture').files ?? [];
  if (!file) return;
  try {
    const picture = await createImageBitmap(file);
    const text = readCode(picture);
    picture.close();
    if (text === undefined) say(texts.noCode);
    else taken(text);
  } catch {
    say(texts.noCode);
  }
  input('code-picture').value = '';
}

export function prepareScanning(): void {
  onClick('#scan', () => void scan());
  onClick('#stop-scan', stopScan);
  input('code-picture').addEventListener('change', () => void run(step, readPicture));
  if (!navigator.mediaDevices?.getUserMedia) element('#scan').hidden = true;
}
