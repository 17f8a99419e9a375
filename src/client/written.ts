/**
 * Secrets as people keep them, and nothing that asks a vault. A program that only opens a backup imports
 * this, and starts faster.
 */
export { readDigits } from './digits.js';
export { BkvError } from './errors.js';
export { formatKey, isLineOf, looksLikeKey, newBackupKey, parseKey } from './key.js';
export { codeOfPiece, looksLikePiece } from './piece-text.js';
export { type Gathered, gather, joinPieces, MOST_PIECES, splitSecret } from './pieces.js';
