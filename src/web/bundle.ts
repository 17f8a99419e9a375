import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const source = fileURLToPath(new URL('../../../src/web/', import.meta.url));

/** A file of the page, and what it is. */
export interface Asset {
  readonly type: 'text/html' | 'text/css' | 'text/javascript';
  readonly content: Buffer;
}

/** Everything that the page consists of, by its path. */
export async function bundle(): Promise<ReadonlyMap<string, Asset>> {
  const { outputFiles } = await build({
    entryPoints: [join(source, 'main.ts'), join(source, 'stretch-worker.ts')],
    bundle: true,
    minify: true,
    splitting: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    outdir: '/',
    write: false,
  });
  const pico = createRequire(import.meta.url).resolve('@picocss/pico/css/pico.classless.min.css');
  return new Map<string, Asset>([
    ['/', { type: 'text/html', content: readFileSync(join(source, 'index.html')) }],
    ['/page.css', { type: 'text/css', content: readFileSync(join(source, 'page.css')) }],
    ['/pico.css', { type: 'text/css', content: readFileSync(pico) }],
    ...outputFiles.map(({ path, contents }): [string, Asset] => [
      path,
      { type: 'text/javascript', content: Buffer.from(contents) },
    ]),
  ]);
}
