import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import type { FleetDefinition } from '../client/index.js';
import { UsageError } from './errors.js';

const base64url = z.string().regex(/^[A-Za-z0-9_-]+$/, 'must be base64url');

const fleetSchema = z.strictObject({
  threshold: z.int().min(1),
  liars: z.int().min(0).optional(),
  vaults: z.array(z.strictObject({ url: z.url(), serverPublicKey: base64url })).nonempty(),
  predecessors: z.array(z.string()).optional(),
});

/** A fleet, and the fleets before it, newest first. */
export interface FleetFile extends FleetDefinition {
  readonly predecessors: readonly FleetDefinition[];
}

/**
 * Reads a fleet file (YAML or JSON) and those of its predecessors, which it names by their paths from its own folder.
 * @throws UsageError
 */
export function loadFleet(path: string): FleetFile {
  const { predecessors = [], ...fleet } = read(path);
  const older = predecessors.map((name) => {
    const { predecessors: _, ...definition } = read(resolve(dirname(path), name));
    return definitionOf(definition);
  });
  return { ...definitionOf(fleet), predecessors: older };
}

function read(path: string): z.infer<typeof fleetSchema> {
  let content: unknown;
  try {
    content = parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new UsageError(`${path}: cannot be read as YAML (${(error as Error).message})`);
  }
  const parsed = fleetSchema.safeParse(content);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new UsageError(`${path}: ${issue?.path.join('.') || 'fleet'}: ${issue?.message}`);
}

const definitionOf = ({
  threshold,
  liars,
  vaults,
}: Omit<z.infer<typeof fleetSchema>, 'predecessors'>): FleetDefinition => ({
  threshold,
  ...(liars !== undefined && { liars }),
  vaults: vaults.map(({ url, serverPublicKey }) => ({
    url,
    serverPublicKey: Buffer.from(serverPublicKey, 'base64url'),
  })),
});

/** A fleet file of the vaults at these URLs, with the keys that they show now. @throws UsageError */
export async function pinFleet(urls: readonly string[], threshold: number): Promise<string> {
  const vaults = await Promise.all(
    urls.map(async (url) => {
      const response = await fetch(`${url.replace(/\/+$/, '')}/v1/identity`).catch(() => undefined);
      if (!response?.ok) throw new UsageError(`${url} does not say who it is; is a vault there?`);
      const { serverPublicKey } = (await response.json()) as Record<string, string>;
      return { url, serverPublicKey };
    }),
  );
  return stringify({ threshold, vaults }, { lineWidth: 0 }).trimEnd();
}
