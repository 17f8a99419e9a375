import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { harmlessEnvironment } from './environment.js';

/** Keeps secrets of this process and its children out of core dumps, and the inspector from being opened by a signal. */
export function harden(warn: (text: string) => void): void {
  process.on('SIGUSR1', () => undefined);
  if (/^Max core file size +0 +0 /m.test(readFileSync('/proc/self/limits', 'utf8'))) return;
  try {
    execFileSync('prlimit', ['--pid', String(process.pid), '--core=0:0'], {
      stdio: 'ignore',
      env: harmlessEnvironment(),
    });
  } catch {
    warn('core dumps could not be turned off (prlimit of util-linux is missing); run with LimitCORE=0');
  }
}
