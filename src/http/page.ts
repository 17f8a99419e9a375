/**
 * One page of Prometheus' text format from several: the samples of a metric stand together, under its HELP and TYPE, as
 * the format demands.
 */
export function mergePages(pages: readonly string[]): string {
  const families = new Map<string, { head: string[]; samples: string[] }>();
  for (const page of pages) {
    let family = { head: [] as string[], samples: [] as string[] };
    for (const line of page.split('\n')) {
      const [, kind, name] = /^# (HELP|TYPE) (\S+)/.exec(line) ?? [];
      if (name) {
        const known = families.get(name);
        family = known ?? { head: [], samples: [] };
        families.set(name, family);
        if (!family.head.some((one) => one.startsWith(`# ${kind} `))) family.head.push(line);
      } else if (line && !line.startsWith('#')) family.samples.push(line);
    }
  }
  const lines = [...families.values()].flatMap(({ head, samples }) => [...head, ...samples]);
  return `${lines.join('\n')}\n`;
}

/** Samples of requests, and of the process itself. */
const OF_HTTP =
  /^bkv_(?:(?:http_request_duration_seconds_(?:bucket|sum|count)|vault_operations_total)\{[^{}]*|(?:process|nodejs)_\w+\{(?:[^{}]*,)?process="http(?:-worker-\d+)?"[^{}]*)\} \S+$/;
const HEAD = /^# (?:HELP|TYPE) bkv_\w+ /;

/** What the process that faces clients may say. Whoever takes it over would forge the keeper's numbers otherwise, and hide alerts. */
export const ofHttp = (page: string): string =>
  page
    .split('\n')
    .filter((line) => HEAD.test(line) || OF_HTTP.test(line))
    .join('\n');
