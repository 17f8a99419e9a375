import { type Evaluation, interpolate, subsets } from '../../protocol/index.js';

/** An evaluation that a member gave. */
export interface Given<M> extends Evaluation {
  readonly member: M;
}

/** Evaluations on one polynomial of degree T - 1, and its value at 0: the evaluation under the whole key. */
export interface Agreement<M> {
  readonly members: readonly M[];
  readonly element: Uint8Array;
}

const same = (a: Uint8Array, b: Uint8Array): boolean => a.every((byte, i) => byte === b[i]);

/** Those of the evaluations that lie on the polynomial through `through`. */
function on<M>(through: readonly Evaluation[], given: readonly Given<M>[]): Given<M>[] {
  return given.filter(
    (one) =>
      through.includes(one) || same(valueAt(through, one.index) ?? one.element.subarray(1), one.element),
  );
}

/** `undefined` if the polynomial's value is the identity, which an honest evaluation never is. */
function valueAt(through: readonly Evaluation[], index: number): Uint8Array | undefined {
  try {
    return interpolate(through, index);
  } catch {
    return undefined;
  }
}

/** Every polynomial on which `threshold` of the evaluations lie; those with most evaluations come first. */
export function agreements<M>(
  threshold: number,
  given: readonly Given<M>[],
  known: readonly Evaluation[] = [],
): Agreement<M>[] {
  const found: Agreement<M>[] = [];
  for (const some of subsets(given, threshold - known.length)) {
    if (found.some(({ members }) => some.every(({ member }) => members.includes(member)))) continue;
    const through = [...known, ...some];
    const element = known.length > 0 ? (known[0] as Evaluation).element : valueAt(through, 0);
    if (!element) continue;
    const members = on(through, given).map(({ member }) => member);
    found.push({ members, element });
    // All agree, so there is no second polynomial with as many.
    if (members.length === given.length) break;
  }
  return found.sort((a, b) => b.members.length - a.members.length);
}

/**
 * Members whose evaluation is certainly wrong if at most `liars` lie: only one polynomial has all but `liars`
 * on it.
 * @param right the evaluation under the whole key, when it is known
 */
export function exposed<M>(
  threshold: number,
  liars: number,
  given: readonly Given<M>[],
  right?: Uint8Array,
): M[] {
  const known = right ? [{ index: 0, element: right }] : [];
  if (given.length < threshold - known.length) return [];
  const possible = agreements(threshold, given, known).filter(
    ({ members }) => members.length >= given.length - liars,
  );
  const [only] = possible;
  return only && possible.length === 1 ? off(only, given) : [];
}

/**
 * Members off the polynomial that most are on, if that polynomial is clearly the nearest. They are wrong
 * unless more than half of the surplus lie together.
 */
export function suspected<M>(threshold: number, given: readonly Given<M>[]): M[] {
  const [most] = agreements(threshold, given);
  if (!most) return [];
  const wrong = off(most, given);
  return 2 * wrong.length <= given.length - threshold ? wrong : [];
}

const off = <M>({ members }: Agreement<M>, given: readonly Given<M>[]): M[] =>
  given.map(({ member }) => member).filter((member) => !members.includes(member));
