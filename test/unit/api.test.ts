import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import ts from 'typescript';
import { endpoints } from '../../src/http/routes.js';
import { ERRORS, type ErrorCode } from '../../src/protocol/index.js';

/** The codes that the contract of the keeper names for each method. */
function namedErrors(): Map<string, ErrorCode[]> {
  const file = 'src/keeper/vault/api.ts';
  const named = new Map<string, ErrorCode[]>();
  const visit = (node: ts.Node): void => {
    if (ts.isMethodSignature(node)) {
      const text = ts
        .getJSDocCommentsAndTags(node)
        .map((tag) => tag.getText())
        .join();
      const words = new Set(text.split('@throws CodedError')[1]?.match(/[a-z-]+/g));
      named.set(
        node.name.getText(),
        (Object.keys(ERRORS) as ErrorCode[]).filter((code) => words.has(code)),
      );
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true));
  return named;
}

describe('the API', () => {
  const named = namedErrors();
  for (const { operation, handle, body, authenticated, errors } of endpoints)
    it(`${operation} names the problems that the keeper’s contract names, and those of HTTP`, () => {
      const [, method = ''] = /keeper\.(\w+)\(/.exec(String(handle)) ?? [];
      const codes = named.get(method);
      assert.ok(codes, method);
      const expected = [
        ...codes.map((code) => ERRORS[code].status),
        ...(authenticated ? [401] : []),
        ...(body ? [400, 413] : []),
        429,
        503,
      ];
      assert.deepEqual([...new Set(expected)].sort(), [...errors]);
    });
});
