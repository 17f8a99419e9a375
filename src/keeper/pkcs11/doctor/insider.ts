import { KEY_ATTACKS, type Target, UNWRAP_ATTACKS } from '../attacks/index.js';
import type { Binding } from '../binding.js';
import { makeKey } from '../keys.js';
import { KEY_LABELS } from '../labels.js';
import { generateWrapped } from '../wrapping.js';
import type { Findings } from './findings.js';
import { PREFIX, throwAway, throwAwayKeys } from './throw-away.js';

/**
 * Does with keys what somebody would do who has the PIN and wants to take them away. Attributes are not
 * believed: what counts is what the module does.
 */
export function tryAttacks(binding: Binding, findings: Findings): void {
  const targets = new Targets(binding);
  const passed = [
    ...UNWRAP_ATTACKS.map((attack) =>
      tell(findings, `an account's key is unwrapped ${attack.name}`, () =>
        targets.use(({ wrap, account }) =>
          attack.succeeds(binding, wrap, account) ? 'it can be done' : undefined,
        ),
      ),
    ),
    ...KEY_ATTACKS.map((attack) =>
      tell(findings, attack.name, () => targets.use((target) => attack.run(target))),
    ),
  ].filter((one) => one);
  if (passed.length > 0) findings.add('an insider', 'unsafe', 'whoever has the PIN can take keys away');
}

/** @returns whether the attack succeeded */
function tell(findings: Findings, name: string, attack: () => string | undefined): boolean {
  try {
    const how = attack();
    findings.add(name, how === undefined ? 'safe' : 'unsafe', how ?? 'the module refuses it');
    return how !== undefined;
  } catch (error) {
    // Not the attack failed but its preparation. That is something the vault needs, which is tried
    // separately.
    findings.add(name, 'note', `not tried, because ${(error as Error).message}`);
    return false;
  }
}

/**
 * The keys that are attacked. They are made again after each attack that succeeded, because it may have
 * changed them.
 */
class Targets {
  readonly #binding: Binding;
  #target: Target | undefined;

  constructor(binding: Binding) {
    this.#binding = binding;
  }

  use(attack: (target: Target) => string | undefined): string | undefined {
    this.#target ??= makeTarget(this.#binding);
    const how = attack(this.#target);
    if (how !== undefined) this.#target = undefined;
    return how;
  }
}

function makeTarget(binding: Binding): Target {
  throwAway(binding);
  const label = (kind: keyof typeof KEY_LABELS) => `${PREFIX}insider.${kind}`;
  for (const kind of ['wrap', 'ledger', 'static'] as const) makeKey(binding, KEY_LABELS[kind], label(kind));
  const { keys } = throwAwayKeys(binding);
  const wrap = keys.get(label('wrap')) as Buffer;
  return {
    binding,
    prefix: PREFIX,
    wrap,
    mac: keys.get(label('ledger')) as Buffer,
    pair: keys.get(label('static')) as Buffer,
    account: generateWrapped(binding, wrap),
  };
}
