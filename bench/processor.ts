import { client, ready, server } from '@serenity-kit/opaque-p256';
import type { Daemon } from '../rig/daemon.js';
import { cpuOf, threadsCpuOf } from '../rig/processes.js';

/** Seconds of processor time since the start, part by part. */
export interface Parts {
  /** the keeper's main thread */
  readonly main: number;
  /** its other threads, which are the token's sessions but for the collector of garbage */
  readonly token: number;
  /** primary and workers */
  readonly http: number;
  /** what else the daemon runs: the supervisor, and the witness of what the token says it wrote */
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

/** Milliseconds that an OPAQUE server without HSM, HTTP or counter needs for `startLogin` of one login. */
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
