import {
  createKE1,
  createRegistrationRequest,
  finishLogin,
  identities,
  randomizePassword,
  toBase64url,
} from '../../protocol/index.js';
import { openKey } from '../sealed-key.js';
import type { OpaqueOptions } from './opaque.js';
import { agreements, exposed, type Given, suspected } from './polynomials.js';
import type { MemberId, Opaque } from './program.js';
import type { Combination, Login, Started } from './scheme.js';

/** What a member answers the start of a login, parsed: KE2, 259 bytes. */
export type KE2 = Uint8Array;
/** What goes to a member at a login's start. */
export interface FirstMessage {
  readonly secretKey: Uint8Array;
  readonly KE1: Uint8Array;
}
/** What goes to a member at a login's end; the export key stays. */
export interface LastMessage {
  readonly KE3: Uint8Array;
  readonly exportKey: Uint8Array;
}
/** An evaluation of the whole key, 33 bytes. */
export type Element = Combination & { readonly element: Uint8Array };

const ELEMENT = 33;

export class OpaqueLogin implements Login {
  readonly #secret: Uint8Array;
  readonly #options: OpaqueOptions;
  readonly #blind: Uint8Array;
  /** every member evaluates the same element */
  readonly blindedElement: Uint8Array;
  /** by the combined element: each is stretched only once, though every envelope needs it */
  readonly #randomized = new Map<string, Promise<Uint8Array>>();
  readonly #secrets: Uint8Array[] = [];

  constructor(secret: Uint8Array, options: OpaqueOptions) {
    this.#secret = secret;
    this.#options = options;
    const { blind, registrationRequest } = createRegistrationRequest(secret);
    this.#blind = blind;
    this.blindedElement = registrationRequest;
  }

  message(): FirstMessage {
    const made = createKE1(this.blindedElement);
    this.#secrets.push(made.secretKey);
    return made;
  }

  combinations(threshold: number, started: ReadonlyMap<MemberId, Started>): Element[] {
    return agreements(threshold, given(started)).map(({ members, element }) => combination(element, members));
  }

  async open(
    member: MemberId,
    { sent, received }: Started,
    by: Combination,
  ): Promise<LastMessage | undefined> {
    const randomized = await this.randomized((by as Element).element);
    const { secretKey, KE1 } = sent as FirstMessage;
    const { serverPublicKey } = this.#options;
    const pinned = serverPublicKey(member);
    try {
      const { KE3, exportKey, sessionKey } = finishLogin(
        { secretKey: secretKey.slice(), KE1 },
        received as KE2,
        randomized,
        { ...identities(this.#options.account, pinned), pinnedServerPublicKey: pinned },
      );
      sessionKey.fill(0);
      this.#secrets.push(exportKey);
      return { KE3, exportKey };
    } catch {
      // Whatever is wrong with the answer, it does not belong to this evaluation.
      return undefined;
    }
  }

  async key(message: Opaque, sealed: Opaque): Promise<Uint8Array | undefined> {
    const { exportKey } = message as LastMessage;
    const opened = await openKey(exportKey.slice(), sealed as Uint8Array).catch(() => undefined);
    if (opened) this.#secrets.push(opened);
    return opened;
  }

  exposed(
    threshold: number,
    liars: number,
    started: ReadonlyMap<MemberId, Started>,
    right?: Combination,
  ): MemberId[] {
    return exposed(threshold, liars, given(started), (right as Element | undefined)?.element);
  }

  suspected(threshold: number, started: ReadonlyMap<MemberId, Started>): MemberId[] {
    return suspected(threshold, given(started));
  }

  /** The randomized password under the key that evaluated to `element`, 32 bytes. */
  randomized(element: Uint8Array): Promise<Uint8Array> {
    const name = toBase64url(element);
    const known = this.#randomized.get(name);
    if (known) return known;
    const made = randomizePassword(this.#secret, this.#blind, element, this.#options.stretch);
    this.#randomized.set(name, made);
    return made;
  }

  wipe(): void {
    for (const secret of [this.#secret, this.#blind, ...this.#secrets]) secret.fill(0);
    for (const made of this.#randomized.values())
      made.then(
        (randomized) => randomized.fill(0),
        () => undefined,
      );
  }
}

export const combination = (element: Uint8Array, group: readonly MemberId[]): Element => ({
  name: toBase64url(element),
  group,
  element,
});

const given = (started: ReadonlyMap<MemberId, Started>): Given<MemberId>[] =>
  [...started].map(([member, { index, received }]) => ({
    member,
    index,
    element: (received as KE2).subarray(0, ELEMENT),
  }));
