import type { Binding } from './binding.js';
import type { Profile } from './profile.js';

/** Manufacturers and models of tokens that are programs: SoftHSM2, openCryptoki's own, Kryoptic, NSS. */
const SOFTWARE = /softhsm|\bsoft\b|soft ?token|kryoptic|mozilla|\bnss\b/i;

/** Whether the token's keys are in files, and in the memory of the process that uses them. */
export function keysLieInFiles(profile: Profile, { p11, slot }: Pick<Binding, 'p11' | 'slot'>): boolean {
  const { manufacturerID, model } = p11.C_GetTokenInfo(slot);
  return profile.files !== undefined || SOFTWARE.test(`${manufacturerID} ${model}`);
}
