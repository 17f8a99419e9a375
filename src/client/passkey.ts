import { parseBase64url } from '../protocol/terms.js';
import { BkvError } from './errors.js';

/** The PRF's input. It is the same for every backup, so that none has to be stored. */
const INPUT = new TextEncoder().encode('bkv 2 passkey');
const ES256 = -7;
const RS256 = -257;

/** A passkey that was used. */
export interface Passkey {
  /** the credential's id, base64url */
  readonly credential: string;
  /** the output of its PRF, 32 bytes */
  readonly secret: Uint8Array;
}

export interface PasskeyOptions {
  /** the domain that the passkey is for; by default the page's own */
  readonly rpId?: string;
}

export interface NewPasskey extends PasskeyOptions {
  /** what the app is called */
  readonly app: string;
  /** the passkey's name in the system's list, such as `alice, backup` */
  readonly name: string;
  /** ids of passkeys that open the backup already: a device that has one refuses to make another */
  readonly exclude?: readonly string[];
}

/** This browser or device has no passkeys, or they have no PRF, which a backup needs. */
export class PasskeyUnsupported extends BkvError {
  constructor(options?: ErrorOptions) {
    super('PasskeyUnsupported', 'the passkeys of this device or browser cannot open backups', options);
  }
}

/** The user closed the dialogue or took too long, or there is no such passkey. */
export class PasskeyCancelled extends BkvError {
  constructor(options?: ErrorOptions) {
    super('PasskeyCancelled', 'no passkey was used', options);
  }
}

/** This device has a passkey that opens the backup already. */
export class PasskeyExists extends BkvError {
  constructor(options?: ErrorOptions) {
    super('PasskeyExists', 'this device has a passkey for the backup already', options);
  }
}

/** What the browser says without asking the user: `false` if passkeys certainly cannot open a backup. */
export async function passkeysMayOpen(): Promise<boolean> {
  if (!globalThis.PublicKeyCredential || !globalThis.navigator?.credentials) return false;
  const { getClientCapabilities } = PublicKeyCredential as unknown as {
    getClientCapabilities?(): Promise<Record<string, boolean>>;
  };
  const capabilities = await getClientCapabilities?.call(PublicKeyCredential).catch(() => undefined);
  return capabilities?.['extension:prf'] !== false;
}

const REASONS: Readonly<Record<string, new (options?: ErrorOptions) => BkvError>> = {
  NotAllowedError: PasskeyCancelled,
  AbortError: PasskeyCancelled,
  InvalidStateError: PasskeyExists,
  NotSupportedError: PasskeyUnsupported,
  SecurityError: PasskeyUnsupported,
};

async function asked(work: () => Promise<Credential | null>): Promise<PublicKeyCredential> {
  if (!(await passkeysMayOpen())) throw new PasskeyUnsupported();
  try {
    const credential = await work();
    if (credential) return credential as PublicKeyCredential;
  } catch (cause) {
    const Reason = REASONS[(cause as Error).name];
    throw Reason ? new Reason({ cause }) : cause;
  }
  throw new PasskeyCancelled();
}

interface PrfResults {
  readonly enabled?: boolean;
  readonly results?: { readonly first: ArrayBuffer };
}
const prfOf = (credential: PublicKeyCredential): PrfResults =>
  (credential.getClientExtensionResults() as { prf?: PrfResults }).prf ?? {};
const extensions = { prf: { eval: { first: INPUT } } } as AuthenticationExtensionsClientInputs;
const random = (length: number): BufferSource => crypto.getRandomValues(new Uint8Array(length));
const descriptor = (id: string): PublicKeyCredentialDescriptor => ({
  type: 'public-key',
  id: parseBase64url(id) as BufferSource,
});

/**
 * Makes a passkey, and checks that it can open backups. Works in browsers, right after a click.
 * @throws PasskeyUnsupported before anything depends on it; PasskeyCancelled, PasskeyExists
 */
export async function createPasskey({ app, name, exclude = [], rpId }: NewPasskey): Promise<Passkey> {
  const made = await asked(() =>
    navigator.credentials.create({
      publicKey: {
        challenge: random(32),
        rp: { name: app, ...(rpId !== undefined && { id: rpId }) },
        // A fresh id: a passkey with the same user id would replace one that opens something else.
        user: { id: random(32), name, displayName: name },
        pubKeyCredParams: [ES256, RS256].map((alg) => ({ type: 'public-key', alg })),
        excludeCredentials: exclude.map(descriptor),
        authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
        extensions,
      },
    }),
  );
  const { enabled, results } = prfOf(made);
  if (results) return { credential: made.id, secret: new Uint8Array(results.first) };
  // Not every authenticator gives the PRF's output while the passkey is made.
  if (enabled) return usePasskey({ ...(rpId !== undefined && { rpId }) }, [made.id]);
  await forget(made.id, rpId);
  throw new PasskeyUnsupported();
}

/**
 * Has the user choose one of their passkeys for the page, and use it. @throws PasskeyUnsupported,
 * PasskeyCancelled
 */
export const openPasskey = (options: PasskeyOptions = {}): Promise<Passkey> => usePasskey(options, []);

async function usePasskey({ rpId }: PasskeyOptions, allowed: readonly string[]): Promise<Passkey> {
  const used = await asked(() =>
    navigator.credentials.get({
      publicKey: {
        challenge: random(32),
        ...(rpId !== undefined && { rpId }),
        allowCredentials: allowed.map(descriptor),
        userVerification: 'required',
        extensions,
      },
    }),
  );
  const { results } = prfOf(used);
  if (!results) throw new PasskeyUnsupported();
  return { credential: used.id, secret: new Uint8Array(results.first) };
}

/** Asks the system to remove a useless passkey from its list. */
async function forget(credentialId: string, rpId = location.hostname): Promise<void> {
  const { signalUnknownCredential } = PublicKeyCredential as unknown as {
    signalUnknownCredential?(which: { rpId: string; credentialId: string }): Promise<void>;
  };
  await signalUnknownCredential?.call(PublicKeyCredential, { rpId, credentialId }).catch(() => undefined);
}
