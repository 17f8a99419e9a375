import type { Answer, Held, Kind, MemberId, Reply, Request } from '../../src/client/fleet/program.js';
import type { Combination, Deal, Login, Scheme, Started } from '../../src/client/fleet/scheme.js';

/** The vaults' rules. Tests switch each one off and find what then goes wrong. */
export interface VaultRules {
  /** a proof ends the other dealings at once */
  retiresAtProof: boolean;
  /** a commit is accepted only for a dealing that was proven here */
  commitsProvenOnly: boolean;
  /** a new dealing begins with the attempts that were spent on the others */
  inherits: boolean;
  /** what a proof does to the attempts of the account's other dealings */
  others: 'given back' | 'all reset' | 'stay spent';
}
export const RULES: VaultRules = {
  retiresAtProof: false,
  commitsProvenOnly: true,
  inherits: true,
  others: 'given back',
};

export interface ModelDealing {
  dealing: string;
  password: string;
  proven: boolean;
  used: number;
}

/** The state of one vault, as `docs/fleet.md` describes it. {@link serve} changes it. */
export interface ModelVault {
  dealings: ModelDealing[];
  /** attempts that were begun and have not ended, each with its dealing */
  open: { id: string; dealing: string; spent: string[] }[];
  offers: { id: string; dealing: string }[];
  /** evaluations for each password since its owner last proved it here */
  evaluations: Record<string, number>;
}
export const emptyVault = (): ModelVault => ({ dealings: [], open: [], offers: [], evaluations: {} });

const refused = (reason: string): Reply<Kind> => ({ ok: false, failure: 'refused', reason });
const ok = (answer: unknown): Reply<Kind> => ({ ok: true, answer: answer as Answer<Kind> });

/** Handles a request as an honest vault does. @returns its answer */
export function serve(
  vault: ModelVault,
  limit: number,
  rules: VaultRules,
  kind: Kind,
  request: unknown,
): Reply<Kind> {
  const r = request as unknown as Record<string, string>;
  const find = (dealing: string) => vault.dealings.find((one) => one.dealing === dealing);
  switch (kind) {
    case 'look': {
      const dealings = vault.dealings
        .filter(({ used }) => used < limit)
        .map(({ dealing, proven, used }) => ({
          dealing,
          proven,
          attemptsRemaining: limit - used,
          full: used === 0,
        }));
      return ok({ locked: dealings.length === 0 && vault.dealings.length > 0, dealings } satisfies Held);
    }
    case 'start': {
      const { dealing } = request as Request<'start'>;
      const held = find(dealing);
      if (!held || held.used >= limit) return refused('nothing here');
      const spent = vault.dealings.filter((one) => one.used < limit);
      for (const one of spent) one.used++;
      vault.evaluations[held.password] = (vault.evaluations[held.password] ?? 0) + 1;
      const id = `${dealing}#${vault.open.length}`;
      vault.open.push({ id, dealing, spent: spent.map((one) => one.dealing) });
      return ok({
        recoveryId: id,
        attemptsRemaining: limit - held.used,
        message: { dealing, opens: held.password, good: true },
      });
    }
    case 'finish': {
      const { recoveryId, message } = request as Request<'finish'>;
      const open = vault.open.find(({ id }) => id === recoveryId);
      const held = open && find(open.dealing);
      vault.open = vault.open.filter((one) => one !== open);
      if (!open || !held) return refused('no such recovery');
      if ((message as { proof: string }).proof !== held.password) return refused('wrong password');
      const failedAttempts = held.used - 1;
      held.used = 0;
      held.proven = true;
      vault.evaluations[held.password] = 0;
      for (const one of vault.dealings) {
        if (one === held) continue;
        if (rules.others === 'all reset') one.used = 0;
        if (rules.others === 'given back' && open.spent.includes(one.dealing))
          one.used = Math.max(0, one.used - 1);
      }
      if (rules.retiresAtProof) vault.dealings = [held];
      return ok({ sealed: held.password, failedAttempts });
    }
    case 'abandon':
      vault.open = vault.open.filter(({ id }) => id !== r.recoveryId);
      return ok(null);
    case 'offer': {
      const { dealing } = request as Request<'offer'>;
      const id = `offer ${dealing}`;
      vault.offers = [{ id, dealing }];
      return ok({ registrationId: id, message: { genuine: true } });
    }
    case 'share': {
      const { registrationId, message } = request as Request<'share'>;
      const offer = vault.offers.find(({ id }) => id === registrationId);
      if (!offer) return refused('no such registration');
      vault.offers = [];
      const { dealing } = offer;
      if (find(dealing)?.proven) return refused('proven already');
      const live = vault.dealings.filter((one) => one.used < limit);
      const used = rules.inherits ? Math.max(0, ...live.map((one) => one.used)) : 0;
      const proven = live.filter((one) => one.proven);
      if (proven.length >= 4) return refused('too many dealings');
      vault.dealings = proven;
      vault.dealings.push({
        dealing,
        password: (message as { password: string }).password,
        proven: false,
        used,
      });
      return ok(null);
    }
    case 'commit': {
      const held = find(r.dealing ?? '');
      if (!held || (rules.commitsProvenOnly && !held.proven)) return refused('not proven');
      vault.dealings = [held];
      return ok(null);
    }
    case 'withdraw': {
      const held = find(r.dealing ?? '');
      if (!held || held.proven) return refused('proven, or not held');
      vault.dealings = vault.dealings.filter((one) => one !== held);
      return ok(null);
    }
    case 'delete':
      vault.dealings = [];
      return ok(null);
  }
}

/** Symbolic cryptography: an evaluation is good or not, and a password is equal or not. */
export class ModelScheme implements Scheme {
  /** @param isTaken whether a dealing already has these random digits */
  constructor(readonly isTaken: (digits: string) => boolean = () => false) {}
  random(): string {
    for (let count = 1; ; count++) {
      const digits = String(count).padStart(16, '0');
      if (!this.isTaken(digits)) return digits;
    }
  }
  login(password: string): ModelLogin {
    return new ModelLogin(password);
  }
  deal(login: Login): Deal {
    const { password } = login as ModelLogin;
    return {
      combination: { name: 'right', group: [] },
      offer: () => null,
      share: (_member, _offered, answer) =>
        (answer as { genuine: boolean }).genuine ? { password } : undefined,
      wipe: () => undefined,
    };
  }
}

type Evaluated = { dealing: string; opens: string; good: boolean; guess?: boolean };
/** the proof that a liar gets if its guess is right */
export const GUESSED = 'guessed';

class ModelLogin implements Login {
  constructor(readonly password: string) {}
  message() {
    return { password: this.password };
  }
  combinations(threshold: number, started: ReadonlyMap<MemberId, Started>): Combination[] {
    const all = [...started.keys()];
    const good = this.#good(started);
    const found: Combination[] = [];
    if (good.length >= threshold) {
      found.push({ name: 'right', group: good });
    }
    // A liar that sees the others' evaluations can choose the element to which it and T - 1 of them combine.
    if (good.length < all.length && all.length >= threshold) found.push({ name: 'wrong', group: all });
    return found;
  }
  #good(started: ReadonlyMap<MemberId, Started>): MemberId[] {
    return [...started].filter(([, one]) => (one.received as Evaluated).good).map(([member]) => member);
  }
  open(_member: MemberId, one: Started, { name }: Combination) {
    const { opens, good, guess } = one.received as Evaluated;
    if (name === 'wrong') return guess && opens === this.password ? { proof: GUESSED } : undefined;
    return good && opens === this.password ? { proof: opens } : undefined;
  }
  key(message: unknown, sealed: unknown) {
    const { proof } = message as { proof: string };
    return sealed === proof ? new Uint8Array(32) : undefined;
  }
  exposed(
    threshold: number,
    liars: number,
    started: ReadonlyMap<MemberId, Started>,
    right?: Combination,
  ): MemberId[] {
    const good = this.#good(started);
    if (good.length < (right ? threshold - 1 : threshold) + liars) return [];
    return [...started.keys()].filter((member) => !good.includes(member));
  }
  suspected(): MemberId[] {
    return [];
  }
  wipe(): void {}
}
