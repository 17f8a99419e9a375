import type { BackupKey } from '../backup/index.js';
import { gather, joinPieces } from '../client/written.js';
import { readText } from './file.js';
import type { OpenerFlags } from './flags.js';
import { inFile, readKey } from './key-file.js';
import { readSecret } from './terminal.js';

/** A piece has three lines, or is typed in one. */
const PIECE_LINES = 3;

/** The piece in a file, which `bkv opener add contacts` has written or which has the piece alone. */
function pieceOf(file: string): string {
  const text = readText(file);
  return /<pre>([^<]*)<\/pre>/.exec(text)?.[1] ?? text;
}

async function askForPiece(which: number, before: readonly string[]): Promise<string> {
  const lines: string[] = [];
  for (;;) {
    lines.push(
      await readSecret(
        lines.length === 0 ? `Piece ${which}: ` : `Piece ${which}, line ${lines.length + 1}: `,
      ),
    );
    const text = lines.join('\n');
    try {
      gather([...before, text]);
      return text;
    } catch (error) {
      if (lines.length === PIECE_LINES || text.replace(/[\s-]/g, '').length > lines.length * 28) throw error;
    }
  }
}

async function askForPieces(): Promise<string[]> {
  const pieces: string[] = [];
  for (let needed = 2; pieces.length < needed; needed = gather(pieces).threshold)
    pieces.push(await askForPiece(pieces.length + 1, pieces));
  return pieces;
}

/** What opens the backup. @throws UsageError; BkvError `InvalidKey`, `InvalidPiece`, `TooFewPieces` */
export async function readOpener({ keyFile, pieceFile, pieces }: OpenerFlags): Promise<BackupKey> {
  if (!pieces && pieceFile === undefined) return readKey(keyFile);
  const texts = pieceFile?.map(pieceOf) ?? (await askForPieces());
  try {
    return { kind: 'contacts', secret: await joinPieces(texts) };
  } catch (error) {
    throw pieceFile ? inFile(pieceFile.join(', '), error) : error;
  }
}
