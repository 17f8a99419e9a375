import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';

it('a warning of Node.js is shown, unless it says that something is experimental', () => {
  const program = `
    import { hideExperimentalWarnings } from './dist/src/process/index.js';
    hideExperimentalWarnings();
    process.emitWarning('of a method', 'ExperimentalWarning');
    process.emitWarning('of the certificates');`;
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
  });
  assert.match(stderr, /of the certificates/);
  assert.doesNotMatch(stderr, /of a method/);
});
