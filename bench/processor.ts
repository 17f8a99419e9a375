import { client, ready, server } from '@serenity-kit/opaque-p256';
import type { Daemon } from '../rig/daemon.js';
import { cpuOf, threadsCpuOf } from '../rig/processes.js';

/** Processor time since the start of each part of the daemon, seconds. */
export interface Parts {
  /** the keeper's main thread */
  readonly main: number;
  /** the keeper's other threads: those of the token's sessions, and V8's garbage collector */
  readonly token: number;
  /** the HTTP primary and its workers */
  readonly http: number;
  /** the daemon's other processes: the supervisor and the witness */
  readonly rest: number;
}

export function partsOf(daemon: Daemon): Parts {
  const { keeper, http, workers, all } = daemon.processes();
  const { main, others } = threadsCpuOf(keeper as number);
  const front = [http as number, ...workers];
  const sum = (pids: readonly number[]) => pids.reduce((total, pid) => total + cpuOf(pid), 0);
  return {
    main,
    token: others,
    http: sum(front),
    rest: sum(all.filter((pid) => pid !== keeper && !front.includes(pid))),
  };
}

export const spent = (before: Parts, after: Parts): Parts => ({
  main: after.main - before.main,
  token: after.token - before.token,
  http: after.http - before.http,
  rest: after.rest - before.rest,
});

/** Processor time of `startLogin` of an OPAQUE server that has no HSM, HTTP or counters, milliseconds. */
export async function peerLogin(count: number): Promise<number> {
  await ready;
  const [password, userIdentifier] = ['correct horse', 'alice'];
  const serverSetup = server.createSetup();
  const { clientRegistrationState, registrationRequest } = client.startRegistration({ password });
  const { registrationResponse } = server.createRegistrationResponse({
    serverSetup,
    userIdentifier,
    registrationRequest,
  });
  const { registrationRecord } = client.finishRegistration({
    clientRegistrationState,
    registrationResponse,
    password,
  });
  const { startLoginRequest } = client.startLogin({ password });
  const login = () =>
    server.startLogin({ serverSetup, userIdentifier, registrationRecord, startLoginRequest });
  for (let i = 0; i < 20; i++) login();
  const before = process.cpuUsage();
  for (let i = 0; i < count; i++) login();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 / count;
}
