import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { program } from '../../src/cli/program.js';
import { Person } from '../support/pty.js';

const MAIN = 'dist/src/cli/main.js';

const all = (command: Command, path: string[] = []): [string[], Command][] => [
  [path, command],
  ...command.commands.flatMap((below) => all(below, [...path, below.name()])),
];

describe('bkv completion', function () {
  this.timeout(60_000);
  const work = mkdtempSync(join(tmpdir(), 'bkv-completion-'));
  const script = join(work, 'bkv.bash');
  before(() => writeFileSync(script, execFileSync(process.execPath, [MAIN, 'completion', 'bash'])));
  after(() => rmSync(work, { recursive: true }));

  /** @returns what bash offers for the last word of each line */
  const offered = (lines: string[][]): string[][] => {
    const asked = lines.map(
      (words) =>
        `COMP_WORDS=(bkv ${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}; _bkv; echo "\${COMPREPLY[*]}"`,
    );
    const text = execFileSync('bash', ['-c', `set -eu; . '${script}'; ${asked.join('; ')}`], {
      encoding: 'utf8',
    });
    return text
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' ').filter(Boolean));
  };

  it('makes bash offer every command and every option, and no others', () => {
    const places = all(program);
    assert.ok(places.length > 30);
    const options = offered(places.map(([path]) => [...path, '--']));
    const commands = offered([...places.map(([path]) => [...path, '']), ['completion', 'f']]);
    for (const [i, [path, command]] of places.entries()) {
      const flags = [...command.options.map(({ long }) => long as string), '--help'];
      assert.deepEqual(options[i]?.sort(), flags.sort(), path.join(' '));
      const names = command.commands.map((below) => below.name());
      if (path.join() !== 'completion') assert.deepEqual(commands[i], names, path.join(' '));
    }
    assert.deepEqual(commands.at(-1), ['fish']);
  });

  it('distinguishes words from values of options', () => {
    const [afterValue, ofChoice, ofFile, started] = offered([
      ['key', 'recover', '--account', 'delete', '--pass'],
      ['restore', '--overwrite', ''],
      ['restore', '--key-file', ''],
      ['key', 're'],
    ]);
    assert.deepEqual(afterValue, ['--password-file']);
    assert.deepEqual(ofChoice, ['never', 'older', 'always']);
    assert.deepEqual(ofFile, []);
    assert.deepEqual(started, ['register', 'recover']);
  });

  for (const [shell, ask] of [
    ['zsh', `autoload -Uz compinit; compinit -u -D; . FILE; (( $+functions[_bkv] )) && print $_comps[bkv]`],
    ['fish', `source FILE; complete -C 'bkv key re'; complete -C 'bkv restore --overwrite '`],
  ] as const)
    it(`is read by ${shell}, if it is installed`, function () {
      if (spawnSync(shell, ['--version']).status !== 0) this.skip();
      const file = join(work, shell);
      writeFileSync(file, execFileSync(process.execPath, [MAIN, 'completion', shell]));
      const { stdout, stderr } = spawnSync(shell, ['-c', ask.replace('FILE', file)], {
        encoding: 'utf8',
        env: { ...process.env, HOME: work, XDG_CONFIG_HOME: work, XDG_DATA_HOME: work },
      });
      assert.equal(stderr, '');
      if (shell === 'zsh') assert.match(stdout, /_bash_complete.*_bkv/);
      else
        assert.deepEqual(
          stdout
            .trim()
            .split('\n')
            .map((line) => line.split('\t')[0]),
          ['recover', 'register', 'always', 'never', 'older'],
        );
    });

  for (const [shell, args, define] of [
    ['bash', ['--norc', '--noprofile', '-i'], 'bkv() { echo "ran: $*"; }'],
    ['zsh', ['-f', '-i'], 'bkv() { print -r -- "ran: $*" }'],
    ['fish', ['--no-config', '--interactive'], 'function bkv; echo "ran: $argv"; end'],
  ] as const)
    it(`completes commands, options and values for a person in ${shell}, if it is installed`, async function () {
      if (spawnSync(shell, ['--version']).status !== 0) this.skip();
      const file = join(work, `${shell}-typed`);
      writeFileSync(file, execFileSync(process.execPath, [MAIN, 'completion', shell]));
      const home = { HOME: work, XDG_CONFIG_HOME: work, XDG_DATA_HOME: work, XDG_CACHE_HOME: work };
      const person = new Person(shell, [...args], { PATH: process.env.PATH, TERM: 'xterm', ...home });
      person.type(`${define}\r`, `source ${file}\r`, 'echo rea""dy\r');
      await person.sees(/[\n\r]ready/);
      for (const [typed, done] of [
        ['bkv key reco\t', /ran: key recover/],
        ['bkv fleet plan --js\t', /ran: fleet plan --json/],
        ['bkv restore --overwrite al\t', /ran: restore --overwrite always/],
      ] as const) {
        person.type(typed, '\r');
        await person.sees(done);
      }
      person.hangUp();
    });

  it('refuses a shell that it does not know', () => {
    assert.equal(spawnSync(process.execPath, [MAIN, 'completion', 'tcsh']).status, 2);
  });
});
