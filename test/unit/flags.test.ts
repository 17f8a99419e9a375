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
});
