import { bytesToHex } from '@noble/hashes/utils.js';
import { argon2id } from 'hash-wasm';
import { equal } from '../protocol/index.js';
import { BkvError } from './errors.js';
import { openKey, sealKey } from './sealed-key.js';

/**
 * Argon2id (RFC 9106) with 3 passes, 64 MiB and 4 lanes: it takes a password of any length and a salt of 16
 * bytes, and gives 32 bytes. An app that runs it elsewhere, such as in a Worker or in native code, must use
 * these parameters.
 */
export type StretchPassword = (password: Uint8Array, salt: Uint8Array) => Promise<Uint8Array>;

/** This device cannot do what a password needs. Nothing was sent, and no attempt is spent. */
export class StretchingUnavailable extends BkvError {
  constructor(detail: string, options?: ErrorOptions) {
    super(
      'StretchingUnavailable',
      `this device cannot check a password: ${detail}. Nothing was sent and no attempt is spent; try another browser or device`,
      options,
    );
  }
}

const run = (passes: number): StretchPassword => {
  return (password, salt) =>
    argon2id({
      password,
      salt,
      iterations: passes,
      memorySize: 65_536,
      parallelism: 4,
      hashLength: 32,
      outputType: 'binary',
    });
};

/** RFC 9106's second recommended parameters. Fixed, so no vault can weaken them. Runs on the thread that calls it. */
export const argon2: StretchPassword = run(3);

// Results for a password of 32 zero bytes and a salt of 16 zero bytes: with three passes, and with one.
const THREE_PASSES = '27133a2b4d3c7e901383febd5fc882e7060ee6dbbd93e4d0309c81dcd4c2efce';
const ONE_PASS = '6331aa7892cb2ed4a6f3515c02a37f4be726eb69241d9820928614d88cb78a95';

/** For our own function one pass is enough: only the memory may be missing. */
async function tryStretching(stretch: StretchPassword): Promise<number> {
  const [trial, expected, passes] =
    stretch === argon2 ? ([run(1), ONE_PASS, 3] as const) : ([stretch, THREE_PASSES, 1] as const);
  const start = performance.now();
  let result: Uint8Array;
  try {
    result = await trial(new Uint8Array(32), new Uint8Array(16));
  } catch (cause) {
    throw new StretchingUnavailable(
      'Argon2id needs WebAssembly and 64 MiB of memory, and this device lacks one of them',
      { cause },
    );
  }
  if (!(result instanceof Uint8Array) || bytesToHex(result) !== expected)
    throw new StretchingUnavailable('its Argon2id gives a wrong result');
  return (performance.now() - start) * passes;
}

async function trySealing(): Promise<void> {
  if (globalThis.crypto?.subtle === undefined)
    throw new StretchingUnavailable('there is no WebCrypto: a page has it only over https:');
  const key = crypto.getRandomValues(new Uint8Array(32));
  try {
    const opened = await openKey(key.slice(), await sealKey(key.slice(), key));
    if (equal(opened, key)) return;
  } catch (cause) {
    throw new StretchingUnavailable('WebCrypto does not encrypt', { cause });
  }
  throw new StretchingUnavailable('WebCrypto gives a wrong result');
}

/**
 * Tries everything that could fail on this device, before the vault is asked and counts an attempt.
 * @returns how many milliseconds a password takes to stretch
 * @throws StretchingUnavailable
 */
export async function tryDevice(stretch: StretchPassword): Promise<number> {
  await trySealing();
  return tryStretching(stretch);
}

/**
 * Key stretching of OPAQUE (RFC 9807, section 7): with a salt of zeros, because each account has its own OPRF
 * output.
 */
export const stretchOutput =
  (stretch: StretchPassword): ((oprfOutput: Uint8Array) => Promise<Uint8Array>) =>
  (oprfOutput) =>
    stretch(oprfOutput, new Uint8Array(16));
