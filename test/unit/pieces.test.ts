import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { seed } from '../../rig/random.js';
import {
  codeOfPiece,
  gather,
  joinPieces,
  looksLikePiece,
  newBackupKey,
  splitSecret,
} from '../../src/client/index.js';
import { decodePiece, encodePiece, PIECE_BYTES } from '../../src/client/piece-text.js';

describe(`pieces of a secret (BKV_SEED=${seed})`, () => {
  const secret = newBackupKey();
  const invalid = (texts: string[], message: RegExp) =>
    assert.rejects(
      joinPieces(texts),
      (error: Error) => error.name === 'InvalidPiece' && message.test(error.message),
    );

  it('any M of N restore it, and fewer do not', async () => {
    const shape = fc
      .integer({ min: 2, max: 7 })
      .chain((n) => fc.tuple(fc.constant(n), fc.integer({ min: 2, max: n })));
    await fc.assert(
      fc.asyncProperty(shape, fc.infiniteStream(fc.nat()), async ([count, threshold], random) => {
        const pieces = await splitSecret(secret, count, threshold);
        assert.equal(pieces.length, count);
        const order = pieces.map((piece) => ({ piece, by: random.next().value as number }));
        const chosen = order.sort((a, b) => a.by - b.by).map(({ piece }) => piece);
        assert.deepEqual(gather(chosen), { pieces: count, threshold });
        assert.deepEqual(await joinPieces(chosen.slice(0, threshold)), secret);
        assert.deepEqual(await joinPieces(chosen), secret);
        await assert.rejects(joinPieces(chosen.slice(0, threshold - 1)), { name: 'TooFewPieces' });
      }),
      { seed, numRuns: 20 },
    );
    for (const [count, threshold] of [
      [1, 1],
      [3, 1],
      [3, 4],
      [21, 2],
      [3.5, 2],
    ] as const)
      await assert.rejects(splitSecret(secret, count, threshold), { name: 'InvalidThreshold' });
  });

  it('every value of a secret’s bytes is equally likely, given one piece too few', async () => {
    // Pieces of two very different secrets have the same distribution: they never repeat.
    const seen = [new Set<string>(), new Set<string>()];
    for (let i = 0; i < 200; i++)
      for (const [at, byte] of [0, 255].entries()) {
        const [piece] = await splitSecret(new Uint8Array(32).fill(byte), 2, 2);
        seen[at]?.add(codeOfPiece(piece as string).slice(12, 62));
      }
    assert.deepEqual(
      seen.map(({ size }) => size),
      [200, 200],
    );
  });

  it('pieces of different rounds do not mix, and no piece counts twice', async () => {
    const [a, b] = (await splitSecret(secret, 3, 2)) as [string, string];
    const [, other] = (await splitSecret(secret, 3, 2)) as [string, string];
    await invalid([a, other], /piece 2 does not belong to piece 1: they were given out at different times/);
    await invalid([a, b, a], /piece 3 is the same as piece 1/);
  });

  it('a contact who forges a piece gets no further than a secret that opens nothing', async () => {
    const [a, b, c] = (await splitSecret(secret, 3, 2)) as [string, string, string];
    const forged = (change: (bytes: Uint8Array) => void): string => {
      const bytes = Uint8Array.from(decodePiece(b, 'b', () => true));
      change(bytes);
      const content = bytes.subarray(0, PIECE_BYTES - 5);
      bytes.set(
        createHash('sha256').update('bkv piece').update(content).digest().subarray(0, 5),
        content.length,
      );
      return encodePiece(bytes);
    };
    const otherShare = forged((bytes) => bytes.set([(bytes[10] as number) ^ 1], 10));
    assert.notDeepEqual(await joinPieces([a, otherShare]), secret);
    assert.deepEqual(await joinPieces([a, c]), secret, 'the honest ones need nobody else');
    // A forged piece says that more pieces are needed.
    for (const threshold of [3, 4]) {
      const raised = forged((bytes) => bytes.set([threshold], 5));
      await invalid([a, raised], /piece 2 does not belong to piece 1/);
      await invalid([raised, a, c], /piece 2 does not belong to piece 1/);
    }
    const [ofThree, other] = (await splitSecret(secret, 3, 3)) as [string, string];
    assert.deepEqual(gather([ofThree, other]), { pieces: 2, threshold: 3 });
    // A forged piece claims another piece's x-coordinate.
    const place = decodePiece(a, 'a', () => true)[39] as number;
    await invalid([a, forged((bytes) => bytes.set([place], 39))], /one of these pieces was forged/);
  });

  it('are read however they are written', async () => {
    const [a, b] = (await splitSecret(secret, 2, 2)) as [string, string];
    const sloppy = a.toLowerCase().replace(/0/g, 'o').replace(/1/g, 'l').replace(/ /g, '-');
    assert.match(a, /^(([0-9A-HJKMNP-TV-Z]{4} ?){6}\n?){3}$/);
    for (const text of [
      sloppy,
      codeOfPiece(a),
      `\ufeff${a.replace(/\n/g, '\r\n')}\r\n`,
      a.replace(/0/g, 'О').replace(/1/g, 'I'),
      a.replace(/0/g, '\u039f').replace(/1/g, '\u0406'),
    ])
      assert.deepEqual(await joinPieces([text, b]), secret);
    assert.ok(
      looksLikePiece(sloppy) &&
        looksLikePiece(codeOfPiece(a).slice(1)) &&
        !looksLikePiece('plume-otter-42-lantern'),
    );
  });

  it('an error names the piece, the line and the character', async () => {
    const [a, b] = (await splitSecret(secret, 2, 2)) as [string, string];
    const put = (line: number, column: number, char: string) =>
      b
        .split('\n')
        .map((text, i) => (i === line ? text.slice(0, column) + char + text.slice(column + 1) : text))
        .join('\n');
    await invalid([a, put(1, 6, 'U')], /^piece 2, line 2, character 7: "U" is in no piece/);
    await invalid([a, put(2, 3, 'ß')], /^piece 2, line 3, character 4: "ß"/);
    await invalid([a, put(0, 3, '')], /^piece 2, line 1, has 23 characters and not 24: 1 is missing/);
    await invalid([a, `${codeOfPiece(b)}AB`], /^piece 2 has 74 characters and not 72: 2 are too many/);
    await invalid([a, '  '], /^piece 2 is empty/);
    for (const [line, column] of [
      [0, 0],
      [1, 5],
      [2, 28],
    ] as const) {
      const was = b.split('\n')[line]?.[column] as string;
      const now = was === 'X' ? 'Y' : 'X';
      const where = `line ${line + 1}, character ${column + 1}`;
      await invalid(
        [a, put(line, column, now)],
        new RegExp(`^piece 2, ${where}: "${now}" is mistyped; it is "${was}"`),
      );
    }
    const code = codeOfPiece(b);
    const i = [...code].findIndex((char, i) => i > 0 && char !== code[i + 1]);
    const swapped = code.slice(0, i) + code[i + 1] + code[i] + code.slice(i + 2);
    await invalid([a, swapped], new RegExp(`piece 2, line 1, character ${i + 1}: .* changed places`));
    await invalid([a, code.split('').reverse().join('')], /^piece 2 is mistyped in several places/);
  });
});
