import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadFleet } from '../../src/cli/fleet-file.js';

describe('a fleet file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bkv-fleet-file-'));
  const file = join(folder, 'fleet.yaml');
  after(() => rmSync(folder, { recursive: true }));
  const load = (...lines: string[]) => {
    writeFileSync(file, lines.join('\n'));
    return loadFleet(file);
  };
  const vault = '  - { url: "https://a.example", serverPublicKey: Aq8 }';

  it('finds its predecessors from its own folder', () => {
    writeFileSync(join(folder, 'older.yaml'), `threshold: 1\nvaults:\n${vault}\n`);
    const { threshold, vaults, predecessors } = load(
      'threshold: 2',
      'vaults:',
      vault,
      'predecessors: [older.yaml]',
    );
    assert.deepEqual([threshold, vaults.length], [2, 1]);
    assert.deepEqual(
      predecessors.map((older) => older.threshold),
      [1],
    );
  });

  it('with faults is refused, and the error gives the line of each', () => {
    const wrong = () =>
      load('treshold: 2', 'vaults:', '  - { url: a.example, serverPublicKey: "Aq8=" }', 'predecessors: []');
    assert.throws(wrong, {
      message: [
        `${file}:1: "treshold" is not a field; did you mean "threshold"?`,
        `${file}:1: threshold: must be a whole number, at least 1`,
        `${file}:3: vaults[0].url: must be a URL`,
        `${file}:3: vaults[0].serverPublicKey: must be base64url`,
      ].join('\n'),
    });
    assert.throws(() => load('threshold: 2', 'vaults: []'), {
      message: `${file}:2: vaults: must be a list that is not empty`,
    });
    assert.throws(() => load(''), { message: /fleet\.yaml: threshold: must be a whole number/ });
    assert.throws(() => load('vaults: ['), { message: /fleet\.yaml:1: / });
    assert.throws(() => loadFleet(join(folder, 'none')), { message: /none: cannot be read \(ENOENT\)/ });
  });
});
