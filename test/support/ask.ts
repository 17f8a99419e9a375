import { readSecret } from '../../src/cli/terminal.js';
import { exitCode } from '../../src/cli/told.js';

// Asks for two secrets, and prints the bytes of each.
try {
  for (const prompt of ['First: ', 'Second: '])
    process.stdout.write(`${Buffer.from(await readSecret(prompt)).toString('hex')};\n`);
} catch (error) {
  process.exitCode = exitCode(error as Error);
} finally {
  process.stdin.destroy();
}
