/** Writes those documents of docs/ that are generated from the code. Run by `npm run docs`. A test compares them. */
import { writeFileSync } from 'node:fs';
import { apiReference } from './api.js';
import { cliReference } from './cli.js';
import { clientReference } from './client.js';
import { configReference } from './config.js';
import { metricsReference } from './metrics.js';

/** The generator of each document, by its name in docs/. */
export const references: Readonly<Record<string, () => string>> = {
  'metrics.md': metricsReference,
  'api.md': apiReference,
  'client-api.md': clientReference,
  'config.md': configReference,
  'cli.md': cliReference,
};

if (process.argv[1]?.endsWith('reference/index.js'))
  for (const [name, make] of Object.entries(references)) writeFileSync(`docs/${name}`, make());
