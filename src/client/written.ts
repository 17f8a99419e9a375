/** Secrets as people keep them, and nothing that asks a vault: for whoever only opens a backup, and starts in less time without. */
export { readDigits } from './digits.js';
export { BkvError } from './errors.js';
export { formatKey, isLineOf, looksLikeKey, newBackupKey, parseKey } from './key.js';
export { codeOfPiece, looksLikePiece } from './piece-text.js';
export { type Gathered, gather, joinPieces, MOST_PIECES, splitSecret } from './pieces.js';
