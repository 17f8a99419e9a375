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
  readonly registration: number;
  readonly registered: boolean;
  readonly used: number;
  /** attempts used of an account that is not registered */
  readonly phantom: number;
  /** by exchange: the registration that it was started on */
  readonly open: Readonly<Record<number, number>>;
}

const start: Model = { registration: 0, registered: false, used: 0, phantom: 0, open: {} };

/** The vault's state after a call, if the recorded answer is possible; if there was no answer, any is. */
function apply(model: Model, call: Call, max: number): Model | undefined {
  const { registration, registered, used, phantom, open } = model;
  const { answer } = call;
  if (call.op === 'register')
    return { ...model, registration: registration + 1, registered: true, used: 0, phantom: 0 };
  if (call.op === 'delete') return { ...model, registered: false, used: 0, phantom: 0 };
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
    const counted = registered ? { used: used + 1 } : { phantom: phantom + 1 };
    return { ...model, ...counted, open: { ...open, [call.exchange]: registered ? registration : -1 } };
  }
  const on = open[call.exchange];
  if (call.op === 'late proof') return registered && on === registration ? { ...model, used: 0 } : undefined;
  if (on === undefined) return answer === 'ok' ? undefined : model;
  const { [call.exchange]: _, ...rest } = open;
  const closed = { ...model, open: rest };
  if (call.op === 'fail') return answer === 'refused' ? undefined : closed;
  const current = registered && on === registration;
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

/** @param max attempts @returns whether some order explains the history */
export function isLinearizable(history: readonly Recorded[], max: number): boolean {
  const calls = history.flatMap(withLateProof).sort((a, b) => a.begun - b.begun);
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
    for (const [i, call] of calls.entries()) {
      if (call.begun > firstEnd) break;
      if (done[i]) continue;
      const next = apply(model, call, max);
      if (!next) continue;
      done[i] = true;
      if (search(next)) return true;
      done[i] = false;
    }
    return false;
  };
  return search(start);
}
