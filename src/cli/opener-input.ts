import type { Command } from 'commander';
import type { BackupKey } from '../backup/index.js';
import { gather, joinPieces } from '../client/index.js';
import { inFile, readKey, readText, withKeyFile } from './key-file.js';
import { readSecret } from './terminal.js';

/** What opens a backup, as the command line says it. */
export interface OpenerFlags {
  readonly keyFile?: string;
  readonly pieceFile?: readonly string[];
  readonly pieces?: boolean;
}

/** A piece has three lines, or is typed in one. */
const PIECE_LINES = 3;
const several = (value: string, before: string[] = []): string[] => [...before, value];

export const withOpener = (command: Command): Command =>
  withKeyFile(command)
    .option('--piece-file <file>', "open it with contacts' pieces: a file with one (again for each)", several)
    .option('--pieces', "open it with contacts' pieces, which are asked for");

/** A file as bkv opener add contacts writes it, or the piece alone. */
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
