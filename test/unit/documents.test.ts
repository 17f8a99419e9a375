import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const DOCUMENTS = [
  ...readdirSync('.').filter((name) => name.endsWith('.md')),
  ...(readdirSync('docs', { recursive: true }) as string[]).map((name) => join('docs', name)),
  'test/vectors/README.md',
].filter((name) => name.endsWith('.md'));
/** Folders from which a document may name a path: the root, or those that architecture.md leaves out. */
const ROOTS = ['', 'src', 'src/keeper', 'src/client', 'test'];

/** Anchors that GitHub makes of a document's headings. */
const anchors = (text: string): string[] =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );

describe('the documents', () => {
  for (const document of DOCUMENTS) {
    const text = readFileSync(document, 'utf8');

    it(`${document} links to what is there`, () => {
      for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^https?:/.test(target)) continue;
        const [path, anchor] = target.split('#') as [string, string?];
        const file = path ? join(dirname(document), path) : document;
        assert.ok(existsSync(file), target);
        if (anchor !== undefined)
          assert.ok(anchors(readFileSync(file, 'utf8')).includes(anchor), `${target}: no such heading`);
      }
    });

    it(`${document} names files and scripts that there are`, () => {
      for (const [, path = ''] of text.matchAll(
        /`(?!DATA\/)([\w.-]+\/[\w./-]*\.(?:ts|md|json|yaml|sh|py|c|service))`/g,
      )) {
        const places = [...ROOTS.map((root) => join(root, path)), join(dirname(document), path)];
        assert.ok(
          places.some((place) => existsSync(place)),
          path,
        );
      }
      const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'));
      for (const [, script = ''] of text.matchAll(/npm run ([\w:]+)/g)) assert.ok(scripts[script], script);
    });
  }
});
