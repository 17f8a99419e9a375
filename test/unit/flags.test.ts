import assert from 'node:assert/strict';
import type { Command, Option } from 'commander';
import { program } from '../../src/cli/program.js';

const optionsOf = (command: Command): Option[] => [
  ...command.options,
  ...command.commands.flatMap((below) => optionsOf(below)),
];

describe('the options of bkv', () => {
  const numbers = optionsOf(program).filter(({ flags }) => /<[a-z]>/.test(flags));

  it('with a number take whole numbers, and refuse everything else', () => {
    assert.ok(numbers.length >= 7);
    for (const { flags, parseArg } of numbers) {
      assert.equal(parseArg?.('2', undefined as never), 2, flags);
      for (const wrong of ['', 'two', '1.5', '-1', '1e2', '0x2', ' 2', 'NaN', 'Infinity', '9999999999'])
        assert.throws(
          () => parseArg?.(wrong, undefined as never),
          { code: 'commander.invalidArgument' },
          `${flags} ${wrong}`,
        );
    }
  });

  it('and its arguments are refused when they are empty, before anything is done', async () => {
    for (const [args, name] of [
      [['key', 'new', '--out', ''], '--out'],
      [['restore', 'cloud', 'here', '--only', 'a', '--only', ''], '--only'],
      [['verify', ''], 'backup'],
      [['backup', '', 'cloud'], 'folder'],
    ] as const)
      await assert.rejects(program.parseAsync([...args], { from: 'user' }), {
        code: 'usage',
        message: new RegExp(`^${name} is empty; is a variable`),
      });
  });
});
