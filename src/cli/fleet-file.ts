import { stringify } from 'yaml';
import type { FleetDefinition } from '../client/index.js';
import { type Checked, checkYaml, fields, integer, list, matching, optional, path } from '../config/check.js';
import { isPlainHttp } from '../protocol/terms.js';
import { UsageError } from './errors.js';
import { readText } from './file.js';

/** How long a vault may take to say who it is, milliseconds. */
const PATIENCE_MS = 30_000;

const fleetFields = fields({
  threshold: integer(1),
  liars: optional(integer(0)),
  vaults: list(
    fields({
      url: matching('a URL', (text) => URL.canParse(text)),
      serverPublicKey: matching('base64url', (text) => /^[A-Za-z0-9_-]+$/.test(text)),
    }),
    1,
  ),
  predecessors: optional(list(path)),
});

/** A fleet, and the fleets before it, newest first. */
export interface FleetFile extends FleetDefinition {
  readonly predecessors: readonly FleetDefinition[];
}

/**
 * Reads a fleet file (YAML or JSON) and the files of its predecessors, which it names by paths relative to
 * its own folder.
 * @throws UsageError
 */
export function loadFleet(path: string): FleetFile {
  const { predecessors = [], ...fleet } = read(path);
  return { ...definitionOf(fleet), predecessors: predecessors.map((older) => definitionOf(read(older))) };
}

function read(path: string): Checked<typeof fleetFields> {
  return checkYaml(readText(path), path, fleetFields, (faults) => {
    throw new UsageError(faults);
  });
}

const definitionOf = ({
  threshold,
  liars,
  vaults,
}: Omit<Checked<typeof fleetFields>, 'predecessors'>): FleetDefinition => ({
  threshold,
  ...(liars !== undefined && { liars }),
  vaults: vaults.map(({ url, serverPublicKey }) => ({
    url,
    serverPublicKey: Buffer.from(serverPublicKey, 'base64url'),
  })),
});

/** Whoever is on the way of a plain answer can put a key of their own into it. @throws UsageError */
function refusePlainHttp(url: string): void {
  if (URL.canParse(url) && isPlainHttp(new URL(url)))
    throw new UsageError(
      `${url} is not encrypted, so others could show a key of their own; use https:, or --plain-http for a trial`,
    );
}

/**
 * A fleet file of the vaults at these URLs, with the keys that they show now.
 * @param plainHttp whether `http:` is allowed to other machines @throws UsageError
 */
export async function pinFleet(
  urls: readonly string[],
  threshold: number,
  plainHttp: boolean,
): Promise<string> {
  if (threshold > urls.length || 2 * threshold <= urls.length)
    throw new UsageError(
      `--threshold must be more than half of the ${urls.length} vaults, and at most all of them`,
    );
  if (!plainHttp) urls.forEach(refusePlainHttp);
  const { shownIdentity } = await import('../client/index.js');
  const options = { timeout: PATIENCE_MS, allowPlainHttp: true };
  const vaults = await Promise.all(
    urls.map(async (url) => {
      const serverPublicKey = await shownIdentity(url, options).catch((error: Error) => {
        throw new UsageError(`${url} does not say who it is: ${error.message}`);
      });
      return { url, serverPublicKey };
    }),
  );
  return stringify({ threshold, vaults }, { lineWidth: 0 }).trimEnd();
}
