import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { TRIED } from '../../rig/stretching.js';

/** The system's Chromium, or else playwright's own, which the set-up has fetched. */
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/google-chrome'].find((path) => existsSync(path));
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const launch = (...args: string[]): Promise<Browser> =>
  chromium.launch({
    ...(CHROMIUM && { executablePath: CHROMIUM }),
    args: ['--no-sandbox', ...args],
  });

/** Replaces the worker of the page that computes Argon2id, as `cheapStretch` replaces that function of the client. */
const CHEAP_WORKER = `addEventListener('message', async ({ data: { password, salt } }) => {
  const tried = Uint8Array.from('${TRIED}'.match(/../g), (byte) => Number.parseInt(byte, 16));
  const digest = await crypto.subtle.digest('SHA-256', Uint8Array.of(...salt, ...password));
  postMessage({ stretched: password.every((byte) => byte === 0) ? tried : new Uint8Array(digest) });
});`;

export interface VisitorOptions extends BrowserContextOptions {
  /** whether the page stretches passwords with Argon2id, which takes a second for each */
  readonly argon2?: boolean;
}

/** Starts the page's server, with a vault of its own. */
export async function servePage(port = '0'): Promise<{ server: ChildProcess; url: string }> {
  const { SOFTHSM2_CONF: _, BKV_TOKEN_PIN: __, ...env } = process.env;
  const server = spawn(process.execPath, ['dist/src/web/serve.js'], {
    env: { ...env, BKV_WEB_PORT: port },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  server.stderr?.on('data', (chunk) => {
    said += chunk;
  });
  const url = await new Promise<string>((resolve, reject) => {
    server.once('exit', (code) => reject(new Error(`the page's server ended with ${code}: ${said}`)));
    createInterface({ input: server.stdout as NodeJS.ReadableStream }).on('line', (line) =>
      resolve(/http:\S+/.exec(line)?.[0] as string),
    );
  });
  return { server, url };
}

/** A virtual authenticator (CDP, WebAuthn). */
export interface Authenticator {
  credentials(): Promise<string[]>;
  forget(credential: string): Promise<void>;
  /** Takes the authenticator out, and plugs in another, to which the user proves their identity or not. */
  replace(isUserVerified: boolean): Promise<void>;
}

/** One person at the page, on a device that shares nothing with others. */
export class Visitor {
  private constructor(
    readonly page: Page,
    readonly account: string,
  ) {}

  static async at(
    browser: Browser,
    url: string,
    account: string,
    { argon2 = false, ...options }: VisitorOptions = {},
  ): Promise<Visitor> {
    const context = await browser.newContext({ acceptDownloads: true, ...options });
    if (!argon2)
      await context.route('**/stretch-worker.js', (route) =>
        route.fulfill({ contentType: 'text/javascript', body: CHEAP_WORKER }),
      );
    return Visitor.in(await context.newPage(), url, account);
  }

  /** @param page that of a device that was here before: a reload, or a second tab */
  static async in(page: Page, url: string, account: string): Promise<Visitor> {
    page.on('pageerror', (error) => assert.fail(error));
    page.on('console', (message) => {
      if (message.text().includes('Content Security Policy')) assert.fail(message.text());
    });
    await page.goto(url);
    return new Visitor(page, account);
  }

  /** The heading of the step that is shown. */
  async step(name: string | RegExp): Promise<void> {
    await this.page.getByRole('heading', { name, level: 1 }).waitFor();
  }

  /** Waits for an alert beside the button. */
  async alerted(text: RegExp): Promise<void> {
    await this.page.getByRole('alert').filter({ hasText: text }).waitFor();
  }

  press(name: string): Promise<void> {
    return this.page.getByRole('button', { name, exact: true }).click();
  }

  async begin(task: 'Back up' | 'Restore'): Promise<void> {
    await this.page.getByLabel('Your account').fill(this.account);
    await this.press(task);
  }

  /** Goes on until the question what should open the backup. */
  async chooseFiles(
    ...files: Parameters<ReturnType<Page['getByLabel']>['setInputFiles']>[0][]
  ): Promise<void> {
    await this.begin('Back up');
    for (const some of files) await this.page.getByLabel('Choose files').setInputFiles(some as string[]);
    await this.press('Continue');
    await this.step('Where should the backup go?');
    await this.press('Continue');
    await this.step(/open/);
  }

  async open(
    opener: 'With a password' | 'With 64 digits' | 'With a passkey' | 'With people you trust',
  ): Promise<void> {
    await this.page.getByRole('radio', { name: opener }).check();
    await this.press('Continue');
  }

  async newPassword(password: string, again = password, button = 'Back up'): Promise<void> {
    await this.page.getByLabel('New password', { exact: true }).fill(password);
    await this.page.getByLabel('The same password again').fill(again);
    await this.press(button);
  }

  async password(password: string): Promise<void> {
    await this.step('Type your password');
    await this.page.getByLabel('Password', { exact: true }).fill(password);
    await this.press('Continue');
  }

  /** Reads the digits, and types back the line that is asked for. */
  async keepDigits(): Promise<string> {
    await this.step('Your 64 digits');
    const digits = (await this.page.locator('#digits').textContent()) as string;
    await this.press('I have them');
    const number = Number(await this.page.locator('#line-number').textContent());
    await this.page.getByLabel(/Type line/).fill(digits.split('\n')[number - 1] as string);
    return digits;
  }

  async digits(digits: string): Promise<void> {
    await this.page.getByRole('textbox', { name: 'The digits' }).fill(digits);
    await this.press('Continue');
  }

  /** Chooses a second way to open what was just made or opened. */
  async addWay(way: 'A password' | '64 digits' | 'A passkey' | 'People you trust'): Promise<void> {
    await this.step('Ways to open this backup');
    await this.press('Add another way');
    await this.page.getByRole('radio', { name: way }).check();
    await this.press('Continue');
  }

  /** The ways that are listed, their names. */
  async ways(): Promise<string[]> {
    await this.step('Ways to open this backup');
    await this.page.locator('#ways-list li').first().waitFor();
    return this.page.locator('#ways-list strong').allTextContents();
  }

  /** Plugs an authenticator into the page, which says yes by itself. */
  async authenticator(hasPrf = true): Promise<Authenticator> {
    const cdp = await this.page.context().newCDPSession(this.page);
    await cdp.send('WebAuthn.enable', { enableUI: false });
    const plug = async (isUserVerified: boolean) => {
      const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
        options: {
          protocol: 'ctap2',
          ctap2Version: 'ctap2_1',
          transport: 'internal',
          hasResidentKey: true,
          hasUserVerification: true,
          hasPrf,
          isUserVerified,
          automaticPresenceSimulation: true,
        },
      });
      return authenticatorId;
    };
    let authenticatorId = await plug(true);
    return {
      credentials: async () =>
        (await cdp.send('WebAuthn.getCredentials', { authenticatorId })).credentials.map(
          ({ credentialId }) => credentialId,
        ),
      forget: async (credentialId) =>
        void (await cdp.send('WebAuthn.removeCredential', { authenticatorId, credentialId })),
      replace: async (isUserVerified) => {
        await cdp.send('WebAuthn.removeVirtualAuthenticator', { authenticatorId });
        authenticatorId = await plug(isUserVerified);
      },
    };
  }

  /** As another person's profile, or after all data of the browser was cleared; the authenticator stays plugged in. */
  async anotherProfile(): Promise<void> {
    const { page } = this;
    const cdp = await page.context().newCDPSession(page);
    const { origin } = new URL(page.url());
    await cdp.send('Storage.clearDataForOrigin', { origin, storageTypes: 'all' });
    await page.reload();
  }

  /** Does what leads to a download, and keeps it. */
  async download(path: string, work: () => Promise<unknown>): Promise<void> {
    const waiting = this.page.waitForEvent('download');
    await work();
    await (await waiting).saveAs(path);
  }

  /** Goes on until the question what opens it. */
  async chooseBackup(path: string): Promise<void> {
    await this.begin('Restore');
    await this.page.getByLabel('The backup file').setInputFiles(path);
    await this.press('Continue');
    await this.step('How do you open it?');
  }

  async content(name: string): Promise<string> {
    const waiting = this.page.waitForEvent('download');
    await this.page.getByRole('link', { name, exact: true }).click();
    return readFileSync(await (await waiting).path(), 'latin1');
  }

  /**
   * Only a person can use the picker. So the page gets a folder of the browser's own, which is of the same
   * kind.
   */
  async useFolder(name: string, files: string[] = []): Promise<void> {
    await this.page.evaluate(
      async ([name, files]) => {
        const root = await navigator.storage.getDirectory();
        const folder = await root.getDirectoryHandle(name, { create: true });
        for (const file of files) await folder.getFileHandle(file, { create: true });
        Object.assign(window, { showDirectoryPicker: async () => folder });
      },
      [name, files] as const,
    );
  }

  /** Checks that a screen reader, a thumb or a narrow screen would have no trouble with the current step. */
  async accessible(): Promise<void> {
    const { page } = this;
    // Evaluated, because the page's policy allows no foreign script.
    await page.evaluate(axe);
    const { violations } = (await page.evaluate('axe.run()')) as {
      violations: { id: string; nodes: { target: string[]; failureSummary: string }[] }[];
    };
    assert.deepEqual(
      violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target)}`),
      [],
    );
    await this.fits();
  }

  /** Checks that nothing sticks out, or is too small for a thumb. */
  async fits(): Promise<void> {
    const faults = await this.page.evaluate(() => {
      const wide = document.documentElement.scrollWidth > innerWidth ? ['the page is too wide'] : [];
      const small = [...document.querySelectorAll('button, a, input, textarea')]
        .map((control) => ({ control, box: control.getBoundingClientRect() }))
        .filter(({ box }) => box.width > 0 && (box.width < 24 || box.height < 24 || box.right > innerWidth))
        .map(({ control }) => `${control.id || control.textContent} is too small, or sticks out`);
      return [...wide, ...small];
    });
    assert.deepEqual(faults, []);
  }
}
