import { decompress, InvalidInput } from '../pkcs11/index.js';
import { InvalidMessage } from './errors.js';

/** An element of a message, 33 bytes, checked and decompressed to 65. @throws InvalidMessage */
export function toElement(compressed: Uint8Array): Uint8Array {
  try {
    return decompress(compressed);
  } catch (error) {
    if (error instanceof InvalidInput) throw new InvalidMessage(error.message);
    throw error;
  }
}
