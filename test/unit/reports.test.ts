import assert from 'node:assert/strict';
import type { Command } from 'commander';
import { program } from '../../src/cli/program.js';

/** Commands without --json: they run for ever, print something to keep or run, or let a person choose a password. */
const OTHERS = [
  'serve',
  'keeper',
  'http',
  'admin',
  'jwt',
  'completion',
  'fleet pin',
  'key new',
  'key show',
  'key register',
  'key recover',
  'key change-password',
  'key to-digits',
  'key delete',
  'opener add',
];

const leaves = (command: Command, path: string): [string, Command][] =>
  command.commands.length === 0
    ? [[path, command]]
    : command.commands.flatMap((below) => leaves(below, `${path} ${below.name()}`.trim()));

describe('commands that report', () => {
  it('all take --json', () => {
    const silent = leaves(program, '')
      .filter(([, { options }]) => !options.some(({ long }) => long === '--json'))
      .map(([path]) => path);
    assert.deepEqual(
      silent.filter((path) => !OTHERS.includes(path)),
      [],
    );
  });
});
