import { spawn } from 'node:child_process';
import { UsageError } from './errors.js';

/** Whoever is there sees a browser: a desktop, and not a session from elsewhere. */
const hasDesktop = ({ DISPLAY, WAYLAND_DISPLAY, SSH_CONNECTION }: NodeJS.ProcessEnv): boolean =>
  process.platform === 'linux' ? Boolean(DISPLAY || WAYLAND_DISPLAY) : !SSH_CONNECTION;

/** What opens an address in the person's browser. No shell sees it. */
const OPENERS: Partial<Record<NodeJS.Platform, readonly [string, ...string[]]>> = {
  darwin: ['open'],
  win32: ['rundll32', 'url.dll,FileProtocolHandler'],
};
const ELSEWHERE = ['xdg-open'] as const;

/** Browsers make passkeys for `https:` alone, and for this device by its name. @throws UsageError */
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
 * Opens the page that adds a passkey, which a browser alone can make. The address is printed as well, and holds nothing of
 * the backup: the person opens that on the page.
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
    const opening = spawn(program, [...args, address], { stdio: 'ignore', detached: true });
    // The person has the address, so a desktop that opens nothing is no failure.
    opening.once('error', () => resolve()).once('spawn', () => resolve());
    opening.unref();
  });
}
