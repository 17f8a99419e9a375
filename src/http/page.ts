/**
 * Merges several pages of Prometheus' text format: the format demands that the samples of a metric are
 * together, under its HELP and TYPE.
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

/** Samples of requests, of the certificates of TLS, and of the process itself. */
const OF_HTTP =
  /^bkv_(?:(?:http_request_duration_seconds_(?:bucket|sum|count)|vault_operations_total|tls_certificate_not_after_seconds)\{[^{}]*|(?:process|nodejs)_\w+\{(?:[^{}]*,)?process="http(?:-worker-\d+)?"[^{}]*)\} \S+$/;
const HEAD = /^# (?:HELP|TYPE) bkv_\w+ /;

/**
 * The samples that the process facing clients may report. Otherwise whoever takes it over could forge the
 * keeper's numbers, and hide alerts.
 */
export const ofHttp = (page: string): string =>
  page
    .split('\n')
    .filter((line) => HEAD.test(line) || OF_HTTP.test(line))
    .join('\n');
