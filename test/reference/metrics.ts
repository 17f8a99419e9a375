import { Counter, Gauge, Histogram } from 'prom-client';
import { apiMetrics } from '../../src/http/metrics.js';
import { keeperMetrics } from '../../src/keeper/metrics/index.js';

interface Described {
  name: string;
  help: string;
  labelNames?: readonly string[];
}

const TYPES = { counter: Counter, gauge: Gauge, histogram: Histogram };

const typeOf = (metric: object): string | undefined =>
  Object.entries(TYPES).find(([, type]) => metric instanceof type)?.[0];

/** The metrics reference, Markdown. */
export function metricsReference(): string {
  const own = [
    ...(apiMetrics as unknown as Described[]).map((metric) => ({
      ...metric,
      type: typeOf(metric),
    })),
    ...keeperMetrics.map(({ described, type }) => ({ ...described, type })),
  ];
  const rows = own.map(
    ({ name, help, type, labelNames = [] }) =>
      `| \`${name}\` | ${type} | ${labelNames.map((label) => `\`${label}\``).join(', ') || '–'} | ${help} |`,
  );
  return `# Metrics

Made from the code by \`npm run docs\`. The admin address serves them under \`/metrics\`. Label values are closed sets: no
account, address or secret is among them. Histograms are in seconds or in changes, as their names say.

| name | type | labels | what it tells |
|---|---|---|---|
${rows.join('\n')}

Of each process there are prom-client's defaults, \`bkv_process_*\` and \`bkv_nodejs_*\`, with the label \`process\`: \`keeper\`, \`admin\`,
\`http\`, \`http-worker-1\`, …
`;
}
