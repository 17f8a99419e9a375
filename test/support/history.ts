/**
 * A history of calls to one account, and whether it is linearizable: whether there is an order in which each call takes
 * effect at one moment between its beginning and its end, and the vault's rules explain every answer. Exact search in
 * the manner of Wing and Gong, with the memory of Lowe.
 */
export type Call =
  /** spends an attempt */
  | { readonly op: 'start'; readonly exchange: number; readonly answer?: { remaining: number } | 'locked' }
  /** proves the password that `exchange` was started with */
  | { readonly op: 'prove'; readonly exchange: number; readonly answer?: 'ok' | 'refused' }
  /** a proof of `exchange` that took effect, before another call made its answer a refusal */
  | { readonly op: 'late proof'; readonly exchange: number; readonly answer?: undefined }
  /** ends `exchange` without */
  | { readonly op: 'fail'; readonly exchange: number; readonly answer?: 'ok' | 'refused' }
  | { readonly op: 'register'; readonly answer?: 'ok' }
  | { readonly op: 'delete'; readonly answer?: 'ok' }
  | {
      readonly op: 'status';
      readonly answer?: { state: string; remaining: number };
    };

/** A call without an answer may have taken effect at any time since, or never. */
export type Recorded = Call & { readonly begun: number; readonly ended: number };

interface Model {
  readonly registered: boolean;
  readonly used: number;
  /** attempts used of an account that is not registered */
  readonly phantom: number;
  /** exchanges that were started on the present registration and will be proven */
  readonly provable: readonly number[];
}

const start: Model = { registered: false, used: 0, phantom: 0, provable: [] };

/**
 * The vault's state after a call, if the recorded answer is possible; if there was no answer, any is.
 * @param proven the exchanges that are proven at some time
 */
function apply(model: Model, call: Call, max: number, proven: ReadonlySet<number>): Model | undefined {
  const { registered, used, phantom, provable } = model;
  const { answer } = call;
  if (call.op === 'register') return { registered: true, used: 0, phantom: 0, provable: [] };
  if (call.op === 'delete') return start;
  if (call.op === 'status') {
    if (!answer) return model;
    const { state, remaining } = answer as { state: string; remaining: number };
    if (!registered) return state === 'unregistered' ? model : undefined;
    if (state === 'locked') return used >= max ? model : undefined;
    return state === 'registered' && remaining === max - used ? model : undefined;
  }
  if (call.op === 'start') {
    const spent = registered ? used : phantom;
    if (spent >= max) return answer === undefined || answer === 'locked' ? model : undefined;
    if (answer === 'locked' || (answer && (answer as { remaining: number }).remaining !== max - spent - 1))
      return undefined;
    if (!registered) return { ...model, phantom: phantom + 1 };
    const added = proven.has(call.exchange) ? [...provable, call.exchange].sort((a, b) => a - b) : provable;
    return { ...model, used: used + 1, provable: added };
  }
  if (call.op === 'fail') return answer === 'refused' ? undefined : model;
  const current = provable.includes(call.exchange);
  if (call.op === 'late proof') return current ? { ...model, used: 0 } : undefined;
  const closed = { ...model, provable: provable.filter((exchange) => exchange !== call.exchange) };
  // Another call may have ended the last attempt as failed, and then the account is locked.
  if (answer === 'ok') return current ? { ...closed, used: 0 } : undefined;
  if (answer === 'refused') return !current || used >= max ? closed : undefined;
  return current ? { ...closed, used: 0 } : closed;
}

/**
 * A proof resets the counter, and is answered later. If the account was registered again between the two, the answer is
 * a refusal, though the proof took effect.
 */
const withLateProof = (call: Recorded): Recorded[] =>
  call.op === 'prove' && call.answer === 'refused'
    ? [{ op: 'late proof', exchange: call.exchange, begun: call.begun, ended: call.ended }, call]
    : [call];

/** Calls without an answer that may have had an effect, and are all alike: if any has, the first one may be taken. */
const isAnyOfItsKind = ({ op, answer }: Call): boolean =>
  answer === undefined && (op === 'start' || op === 'register' || op === 'delete');

/** Calls without an answer that have no effect on others. */
const isIdle = ({ op, answer }: Call): boolean => answer === undefined && (op === 'status' || op === 'fail');

/** @param max attempts @returns whether some order explains the history */
export function isLinearizable(history: readonly Recorded[], max: number): boolean {
  const calls = history
    .filter((call) => !isIdle(call))
    .flatMap(withLateProof)
    .sort((a, b) => a.begun - b.begun);
  const proven = new Set(calls.flatMap((call) => (call.op === 'prove' ? [call.exchange] : [])));
  const seen = new Set<string>();
  const done = new Array<boolean>(calls.length).fill(false);
  const search = (model: Model): boolean => {
    let firstEnd = Number.POSITIVE_INFINITY;
    let left = 0;
    calls.forEach((call, i) => {
      if (done[i] || call.answer === undefined) return;
      left++;
      firstEnd = Math.min(firstEnd, call.ended);
    });
    if (left === 0) return true;
    const key = `${done.map(Number).join('')} ${JSON.stringify(model)}`;
    if (seen.has(key)) return false;
    seen.add(key);
    const tried = new Set<string>();
    for (const [i, call] of calls.entries()) {
      if (call.begun > firstEnd) break;
      if (done[i]) continue;
      if (isAnyOfItsKind(call)) {
        if (tried.has(call.op)) continue;
        tried.add(call.op);
      }
      const next = apply(model, call, max, proven);
      if (!next) continue;
      done[i] = true;
      if (search(next)) return true;
      done[i] = false;
    }
    return false;
  };
  return search(start);
}
