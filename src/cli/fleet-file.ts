import { readFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import type { FleetOptions } from '../client/index.js';
import { UsageError } from './errors.js';

const base64url = z.string().regex(/^[A-Za-z0-9_-]+$/, 'must be base64url');

const fleetSchema = z.strictObject({
  threshold: z.int().min(1),
  vaults: z
    .array(z.strictObject({ url: z.url(), serverPublicKey: base64url, transportPublicKey: base64url }))
    .nonempty(),
});

/** Reads a fleet file (YAML or JSON): threshold, and each vault's URL and pinned keys. @throws UsageError */
export function loadFleet(path: string): Pick<FleetOptions, 'threshold' | 'vaults'> {
  let content: unknown;
  try {
    content = parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new UsageError(`${path}: cannot be read as YAML (${(error as Error).message})`);
  }
  const parsed = fleetSchema.safeParse(content);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new UsageError(`${path}: ${issue?.path.join('.') || 'fleet'}: ${issue?.message}`);
  }
  return {
    threshold: parsed.data.threshold,
    vaults: parsed.data.vaults.map(({ url, serverPublicKey, transportPublicKey }) => ({
      url,
      serverPublicKey: Buffer.from(serverPublicKey, 'base64url'),
      transportPublicKey: Buffer.from(transportPublicKey, 'base64url'),
    })),
  };
}

/** A fleet file of the vaults at these URLs, with the keys that they show now. @throws UsageError */
export async function pinFleet(urls: readonly string[], threshold: number): Promise<string> {
  const vaults = await Promise.all(
    urls.map(async (url) => {
      const response = await fetch(`${url.replace(/\/+$/, '')}/v1/identity`).catch(() => undefined);
      if (!response?.ok) throw new UsageError(`${url} does not say who it is; is a vault there?`);
      const { serverPublicKey, transportPublicKey } = (await response.json()) as Record<string, string>;
      return { url, serverPublicKey, transportPublicKey };
    }),
  );
  return stringify({ threshold, vaults }, { lineWidth: 0 }).trimEnd();
}
