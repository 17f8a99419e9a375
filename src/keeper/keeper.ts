import { AccountLimit, type Authenticate } from './access/index.js';
import { log } from './log/index.js';
import type { AccountId, Caller, Duty, KeeperApi } from './vault/index.js';

/** What clients pin and plan with. It does not depend on whether this keeper is on duty. */
export type Identity = Awaited<ReturnType<KeeperApi['identity']>>;

/** The seam in process: who may speak for an account, how often, and the vault that is on duty. */
export function keeperApi(
  duty: Duty,
  authenticate: Authenticate,
  limit: AccountLimit,
  identity: Identity,
): KeeperApi {
  const changes = new AccountLimit(limit.limit);
  const accountOf = async (
    { accessToken, requestId }: Caller,
    counted?: AccountLimit,
  ): Promise<AccountId> => {
    const account = await authenticate(accessToken);
    const name = duty.vault.nameOf(account);
    log.info('request of an account', { requestId, account: name });
    counted?.count(name);
    return { ...account, requestId };
  };
  const first = (caller: Caller) => accountOf(caller, limit);
  /**
   * Second messages need no limit of the account: an exchange's id is valid once, and a made-up id is refused before the
   * token works.
   */
  const second = (caller: Caller) => accountOf(caller);
  /** Has its own limit, so that starts, status requests and other devices cannot use it up. */
  const later = (caller: Caller) => accountOf(caller, changes);
  return {
    identity: async () => identity,
    status: async ({ caller }) => {
      const account = await first(caller);
      return duty.vault.status(account);
    },
    delete: async ({ caller }) => {
      const account = await first(caller);
      await duty.vault.delete(account);
      return undefined;
    },
    startRegistration: async ({ caller, ...request }) => {
      const account = await first(caller);
      return duty.vault.startRegistration(account, request);
    },
    finishRegistration: async ({ caller, ...message }) => {
      const account = await second(caller);
      await duty.vault.finishRegistration(account, message);
      return undefined;
    },
    startShare: async ({ caller, ...request }) => {
      const account = await first(caller);
      return duty.vault.startShare(account, request);
    },
    finishShare: async ({ caller, ...message }) => {
      const account = await second(caller);
      await duty.vault.finishShare(account, message);
      return undefined;
    },
    commitDealing: async ({ caller, dealing }) => {
      const account = await later(caller);
      await duty.vault.commitDealing(account, dealing);
      return undefined;
    },
    withdrawDealing: async ({ caller, dealing }) => {
      const account = await later(caller);
      await duty.vault.withdrawDealing(account, dealing);
      return undefined;
    },
    startRecovery: async ({ caller, dealing, ...login }) => {
      const account = await first(caller);
      return duty.vault.startRecovery(account, login, dealing);
    },
    finishRecovery: async ({ caller, recoveryId, KE3 }) => {
      const account = await second(caller);
      return duty.vault.finishRecovery(account, recoveryId, KE3);
    },
    abandonRecovery: async ({ caller, recoveryId }) => {
      const account = await second(caller);
      await duty.vault.abandonRecovery(account, recoveryId);
      return undefined;
    },
  };
}
