/**
 * The meaning of a pattern: `*` and `?` match within a name, `**` across folders; a pattern with `/` is
 * anchored at the source.
 */
function toRegExp(pattern: string): RegExp {
  const body = pattern.replace(/^\.?\/|\/$/g, '');
  const anchored = pattern.replace(/\/$/, '').includes('/');
  const source = body.replace(/\*\*\/|\*\*|[*?]|[.+^${}()|[\]\\]/g, (found) => {
    if (found === '**/') return '(?:.*/)?';
    if (found === '**') return '.*';
    if (found === '*') return '[^/]*';
    return found === '?' ? '[^/]' : `\\${found}`;
  });
  return new RegExp(`^${anchored ? '' : '(?:.*/)?'}${source}$`, 'su');
}

/**
 * Whether a path, and so everything below it, is left out.
 * @param patterns `*.tmp`, `node_modules`, `/cache`, `pictures/**\/*.raw`
 */
export function excluder(patterns: readonly string[]): (path: string) => boolean {
  const expressions = patterns.map(toRegExp);
  return (path) => expressions.some((expression) => expression.test(path));
}
