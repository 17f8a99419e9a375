import { argon2 } from '../client/index.js';

// Runs in its own thread: the page stays responsive, and the memory is freed when the thread ends.

export interface Request {
  readonly password: Uint8Array;
  readonly salt: Uint8Array;
}
export type Answer = { readonly stretched: Uint8Array } | { readonly failed: true };

const answer = postMessage as (answer: Answer) => void;

addEventListener('message', ({ data: { password, salt } }: MessageEvent<Request>) => {
  void argon2(password, salt).then(
    (stretched) => {
      answer({ stretched });
      password.fill(0);
    },
    () => answer({ failed: true }),
  );
});
