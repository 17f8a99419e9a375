import { parseKE1 } from '../../protocol/index.js';
import { decompress, InvalidInput, type Login } from '../elements/index.js';
import { expectPoint } from '../pkcs11/index.js';
import { InvalidMessage } from './errors.js';

/** An element of a message, 33 bytes, checked and decompressed to 65. @throws InvalidMessage */
export const toElement = (compressed: Uint8Array): Uint8Array => checked(() => decompress(compressed));

/** Checks what the caller has decompressed. @throws InvalidMessage */
export const checkLogin = ({ KE1, blindedElement, clientKeyshare }: Login): void =>
  checked(() => {
    const elements = parseKE1(KE1);
    expectPoint(blindedElement, elements.blindedElement);
    expectPoint(clientKeyshare, elements.clientKeyshare);
  });

function checked<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof InvalidInput) throw new InvalidMessage(error.message);
    throw error;
  }
}
