import { description } from '../../src/http/index.js';
import { ERRORS } from '../../src/protocol/index.js';

interface Schema {
  type?: string;
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
}
interface Operation {
  summary: string;
  security: unknown[];
  requestBody?: { content: { 'application/json': { schema: Schema } } };
  responses: Record<string, { content?: { 'application/json'?: { schema: Schema } } }>;
}

/** The members of an object, one a line. If a member is a list of objects, their members follow below it. */
const members = ({ properties = {}, required = [] }: Schema, indent = ''): string[] =>
  Object.entries(properties).flatMap(([name, { type, description, items }]) => [
    `${indent}- \`${name}\`${required.includes(name) ? '' : ' (optional)'}: ${description ?? type}`,
    ...(items ? members(items, `${indent}  `) : []),
  ]);
const fields = (title: string, schema: Schema | undefined): string =>
  schema ? `\n${title}:\n\n${members(schema).join('\n')}\n` : '';

/** Every problem type, by its status. */
const problems = (): string =>
  Object.entries(ERRORS)
    .filter(([, { fatal }]) => !fatal)
    .sort(([, a], [, b]) => a.status - b.status)
    .map(([code, { status, title }]) => `| ${status} | \`urn:bkv:problem:${code}\` | ${title} |`)
    .join('\n');

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

| status | type | title |
|---|---|---|
${problems()}

[protocol.md](protocol.md) says what a client does on each.

${sections.join('\n')}`;
}
