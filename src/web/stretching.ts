import type { argon2 } from '../client/index.js';
import type { Answer, Request } from './stretch-worker.js';
import { Problem, texts } from './words.js';

/**
 * Lends Argon2id in a thread of its own, which ends with its use: 64 MiB go back to the system then. It is tried before
 * anything is asked of the vault, since what fails later costs an attempt.
 * @throws Problem, without having called `use`, when this browser cannot do it
 */
export async function withStretch<T>(use: (stretch: typeof argon2) => Promise<T>): Promise<T> {
  const worker = new Worker('stretch-worker.js', { type: 'module' });
  const ask = (request: Request): Promise<Uint8Array> =>
    new Promise((resolve, reject) => {
      const fail = () => reject(new Problem(request ? texts.stretchFailed : texts.cannotStretch));
      worker.onerror = fail;
      worker.onmessage = ({ data }: { data: Answer }) =>
        'stretched' in data ? resolve(data.stretched) : fail();
      worker.postMessage(request);
    });
  try {
    await ask(undefined);
    return await use((password, salt) => ask({ password, salt }));
  } finally {
    worker.terminate();
  }
}
