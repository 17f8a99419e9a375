import { spawn } from 'node:child_process';
import { UsageError } from './errors.js';

/** Whether the user would see a browser: there is a desktop, and the session is local. */
const hasDesktop = ({ DISPLAY, WAYLAND_DISPLAY, SSH_CONNECTION }: NodeJS.ProcessEnv): boolean =>
  process.platform === 'linux' ? Boolean(DISPLAY || WAYLAND_DISPLAY) : !SSH_CONNECTION;

/** The program that opens an address in the user's browser, without a shell. */
const OPENERS: Partial<Record<NodeJS.Platform, readonly [string, ...string[]]>> = {
  darwin: ['open'],
  win32: ['rundll32', 'url.dll,FileProtocolHandler'],
};
const ELSEWHERE = ['xdg-open'] as const;

/** The page's address. Browsers make passkeys only for `https:`, and for `localhost`. @throws UsageError */
function addressOf(page: string): string {
  if (!URL.canParse(page)) throw new UsageError(`${page} is not the address of a page`);
  const { protocol, hostname, href } = new URL(page);
  if (protocol !== 'https:' && !(protocol === 'http:' && hostname === 'localhost'))
    throw new UsageError(
      `browsers make no passkeys at ${page}: it must begin with https: or http://localhost`,
    );
  return href;
}

/**
 * Opens the page that adds a passkey, because only a browser can make one. The address is also printed. It
 * contains nothing of the backup: the user opens the backup on the page.
 * @throws UsageError
 */
export async function openPage(page: string | undefined, backup: string): Promise<void> {
  if (page === undefined)
    throw new UsageError(
      'a passkey is made in a browser, on the page of your app: name it with --page URL, or BKV_PAGE (to try one: npm run demo:web)',
    );
  const address = addressOf(page);
  process.stderr.write(
    `A passkey is made in a browser. Open ${address}\nChoose Restore, and there ${backup}. Open it as you do now, and press "Ways to open it".\n`,
  );
  if (!hasDesktop(process.env)) return;
  const [program, ...args] = OPENERS[process.platform] ?? ELSEWHERE;
  await new Promise<void>((resolve) => {
    // A browser needs most of the environment, but nothing of what is for this program.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('BKV_')));
    const opening = spawn(program, [...args, address], { stdio: 'ignore', detached: true, env });
    // The user has the address, so it is not a failure if the desktop opens nothing.
    opening.once('error', () => resolve()).once('spawn', () => resolve());
    opening.unref();
  });
}
