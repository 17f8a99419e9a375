import type { StretchPassword } from '../client/index.js';
import type { Answer } from './stretch-worker.js';
import { Problem, texts } from './words.js';

/** Lends Argon2id in its own thread. The thread ends afterwards, which returns 64 MiB to the system. */
export async function withStretch<T>(use: (stretch: StretchPassword) => Promise<T>): Promise<T> {
  const worker = new Worker('stretch-worker.js', { type: 'module' });
  const stretch: StretchPassword = (password, salt) =>
    new Promise((resolve, reject) => {
      const fail = () => reject(new Problem(texts.stretchFailed));
      worker.onerror = fail;
      worker.onmessage = ({ data }: { data: Answer }) =>
        'stretched' in data ? resolve(data.stretched) : fail();
      worker.postMessage({ password, salt });
    });
  try {
    return await use(stretch);
  } finally {
    worker.terminate();
  }
}
