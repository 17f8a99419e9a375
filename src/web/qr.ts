import { encodeQR } from 'qr';
import { decodeQR } from 'qr/decode.js';

/** Modules of white on every side (ISO/IEC 18004). */
const QUIET_ZONE = 4;
/** Pixels of a picture's longer side, at which a code is readable and reading is quick. */
const SIDES = [800, 1600];
const SVG = 'http://www.w3.org/2000/svg';

const shape = (name: string, attributes: Record<string, string>): SVGElement => {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
};

/** A QR code, black on white, whatever the page's colours. */
export function drawCode(text: string, label: string): SVGElement {
  const modules = encodeQR(text, 'raw', { ecc: 'medium', border: QUIET_ZONE });
  const side = String(modules.length);
  const path = modules.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : ''))).join('');
  const code = shape('svg', {
    viewBox: `0 0 ${side} ${side}`,
    role: 'img',
    'aria-label': label,
    'shape-rendering': 'crispEdges',
  });
  code.append(
    shape('rect', { width: side, height: side, fill: '#fff' }),
    shape('path', { d: path, fill: '#000' }),
  );
  return code;
}

type Picture = HTMLVideoElement | ImageBitmap;

/** The content of the QR code in a picture, if there is a readable one. */
export function readCode(picture: Picture, sides = SIDES): string | undefined {
  const [width, height] =
    picture instanceof HTMLVideoElement
      ? [picture.videoWidth, picture.videoHeight]
      : [picture.width, picture.height];
  for (const side of sides) {
    const scale = Math.min(1, side / Math.max(width, height));
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
    const context = canvas.getContext('2d', { willReadFrequently: true }) as CanvasRenderingContext2D;
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const image = context.getImageData(0, 0, canvas.width, canvas.height);
    context.clearRect(0, 0, canvas.width, canvas.height);
    try {
      return decodeQR(image);
    } catch {
      // Not found at this size.
    } finally {
      image.data.fill(0);
    }
    if (scale === 1) break;
  }
  return undefined;
}

/**
 * Reads from the camera until it sees a code that is accepted, or until it is told to stop. @throws
 * DOMException
 */
export async function readCamera(
  video: HTMLVideoElement,
  signal: AbortSignal,
  take: (text: string) => boolean,
): Promise<void> {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
  try {
    video.srcObject = stream;
    await video.play();
    while (!signal.aborted) {
      const text = video.videoWidth > 0 ? readCode(video, [800]) : undefined;
      if (text !== undefined && take(text)) return;
      await new Promise((resolve) => setTimeout(resolve, 120));
    }
  } finally {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  }
}
