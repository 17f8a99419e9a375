import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import ts from 'typescript';

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

/** Every text in the source; `…` stands for what is put in. */
function textsOf(file: string): string[] {
  const texts: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteralLike(node)) texts.push(node.text);
    else if (ts.isTemplateExpression(node))
      texts.push(
        [node.head, ...node.templateSpans.map(({ literal }) => literal)].map(({ text }) => text).join('…'),
      );
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest));
  return texts;
}

describe('the documents', () => {
  it('docs/operator.md quotes what the program says', () => {
    const texts = ['keeper', 'process', 'http', 'daemon']
      .flatMap((folder) =>
        (readdirSync(join('src', folder), { recursive: true }) as string[]).map((name) =>
          join('src', folder, name),
        ),
      )
      .filter((name) => name.endsWith('.ts'))
      .flatMap(textsOf);
    const prose = readFileSync('docs/operator.md', 'utf8')
      .replace(/^ {4}.*$/gm, '')
      .replace(/\s+/g, ' ')
      .replace(/`[^`]*`/g, '');
    const quotes = [...prose.matchAll(/"([^"]+)"/g)].map(([, quote]) => quote as string);
    const isSaid = (quote: string) => {
      const parts = quote.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
      return texts.some((text) => new RegExp(parts.join('.*')).test(text));
    };
    assert.ok(quotes.length > 25);
    assert.deepEqual(
      quotes.filter((quote) => !isSaid(quote)),
      [],
    );
  });

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
