import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { encodeQR } from 'qr';
import { codeOfPiece } from '../client/written.js';
import { makeFolder } from '../process/index.js';
import { writeNew } from './file.js';

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`).replace(/\p{Cc}/gu, ' ');

/** A piece on a sheet of paper: who it is for, what to do with it, the text and its QR code. */
const sheet = (piece: string, name: string, threshold: number): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Piece for ${escaped(name)}</title>
<style>body { max-width: 40rem; margin: 2rem auto; font: 1.1rem/1.5 sans-serif } svg { width: 14rem } pre { font-size: 1.1rem; line-height: 2 }</style>
<h1>Piece for ${escaped(name)}</h1>
<p>This is a piece of the key to a backup. Alone it opens nothing; any ${threshold} of the pieces open it together. Keep it where
you keep papers that matter. When the person who gave it to you asks for it, make sure that it is really them: see or call them.</p>
<pre>${piece}</pre>
${encodeQR(codeOfPiece(piece), 'svg', { ecc: 'medium', border: 4 })}
</html>
`;

/**
 * Writes a file for each person that only the user can read. The files are on the disk when this returns.
 * @returns a function that deletes them @throws UsageError when a file exists already or cannot be written;
 * then none is left
 */
export function writePieces(
  folder: string,
  pieces: readonly string[],
  names: readonly string[],
  threshold: number,
): () => void {
  const files: string[] = [];
  const undo = () => {
    for (const file of files) rmSync(file, { force: true });
  };
  try {
    makeFolder(folder);
    for (const [i, piece] of pieces.entries()) {
      const name = names[i] as string;
      const plain = name.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '');
      const file = join(folder, `piece-${i + 1}${plain && `-${plain}`}.html`);
      writeNew(file, sheet(piece, name, threshold));
      files.push(file);
    }
  } catch (error) {
    undo();
    throw error;
  }
  return undo;
}
