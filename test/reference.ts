/** Makes docs/metrics.md, docs/api.md and docs/client-api.md from the code. Run by `npm run docs`; a test compares. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Application, LogLevel } from 'typedoc';
import { description } from '../src/http/index.js';
import { apiMetrics } from '../src/http/metrics.js';
import { keeperMetrics } from '../src/keeper/metrics/index.js';

interface Described {
  name: string;
  help: string;
  type: string;
  labelNames?: readonly string[];
}

/** The reference of the client library, Markdown, from its docstrings. @throws when one names what is not there */
export async function clientReference(): Promise<string> {
  const out = mkdtempSync(join(tmpdir(), 'bkv-docs-'));
  const app = await Application.bootstrapWithPlugins({
    out,
    entryPoints: ['src/client/index.ts'],
    plugin: ['typedoc-plugin-markdown'],
    readme: 'none',
    excludeExternals: true,
    disableSources: true,
    logLevel: LogLevel.Warn,
    ...{ outputFileStrategy: 'modules', hidePageHeader: true, hideBreadcrumbs: true },
  });
  const project = await app.convert();
  try {
    if (!project) throw new Error('the client library could not be read');
    await app.generateOutputs(project);
    if (app.logger.hasWarnings())
      throw new Error('a docstring of the client library names what is not there');
    return readFileSync(join(out, 'README.md'), 'utf8').replace(
      '# backup-key-vault',
      '# The client library, name by name',
    );
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

/** The metrics reference, Markdown. */
export function metricsReference(): string {
  const own = [
    ...(apiMetrics as unknown as Described[]).map((metric) => ({
      ...metric,
      type: 'buckets' in metric ? 'histogram' : 'counter',
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

Of each process there are prom-client's defaults, \`bkv_process_*\` and \`bkv_nodejs_*\`, with the label \`process\`: \`keeper\`, \`http\`,
\`http-worker-1\`, …
`;
}

interface Schema {
  type?: string;
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
}
interface Operation {
  summary: string;
  security: unknown[];
  requestBody?: { content: { 'application/json': { schema: Schema } } };
  responses: Record<string, { content?: { 'application/json'?: { schema: Schema } } }>;
}

const fields = (title: string, schema: Schema | undefined): string =>
  schema
    ? `\n${title}:\n\n${Object.entries(schema.properties ?? {})
        .map(
          ([name, { type, description }]) =>
            `- \`${name}\`${schema.required?.includes(name) ? '' : ' (optional)'}: ${description ?? type}`,
        )
        .join('\n')}\n`
    : '';

/** The HTTP reference, Markdown. */
export function apiReference(): string {
  const { paths } = description('') as { paths: Record<string, Record<string, Operation>> };
  const sections = Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, { summary, security, requestBody, responses }]) => {
      const [status] = Object.keys(responses) as [string];
      const problems = Object.keys(responses).filter((code) => code >= '400');
      return `## ${method.toUpperCase()} ${path}

${summary}. ${security.length > 0 ? 'With a JWT.' : 'Without a JWT.'} Answers ${status}; problems: ${problems.join(', ')}.
${fields('Sends', requestBody?.content['application/json'].schema)}${fields('Receives', responses[status]?.content?.['application/json']?.schema)}`;
    }),
  );
  return `# HTTP API

Made from the schemas by \`npm run docs\`; \`/openapi.json\` has the same for programs. JSON, binary fields base64url without
padding. A problem is an RFC 9457 document (\`application/problem+json\`) whose \`detail\` says what is wrong and what to do;
503 and 429 carry \`Retry-After\`. A wrong password is 403 with \`attemptsRemaining\`, a locked account 423.

The JWT (\`Authorization: Bearer\`) names the account in \`sub\`. Every answer has an \`X-Request-Id\`, which is in the log.

${sections.join('\n')}`;
}

if (process.argv[1]?.endsWith('reference.js')) {
  writeFileSync('docs/metrics.md', metricsReference());
  writeFileSync('docs/api.md', apiReference());
  writeFileSync('docs/client-api.md', await clientReference());
}
