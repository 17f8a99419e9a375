import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Browser, chromium, type Page } from 'playwright-core';

/** The system's; without one playwright's own, which the set-up has fetched. */
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/google-chrome'].find((path) => existsSync(path));
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

describe('the page in a browser', () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-page-'));
  const picture = Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
    'base64',
  );
  const archive = join(work, 'backup.bkv');
  let server: ChildProcess;
  let browser: Browser;
  let url: string;

  before(async () => {
    writeFileSync(join(work, 'cat.png'), picture);
    writeFileSync(join(work, 'notes.txt'), 'hello\n');
    const { SOFTHSM2_CONF: _, BKV_TOKEN_PIN: __, ...env } = process.env;
    server = spawn(process.execPath, ['dist/src/web/serve.js'], {
      env: { ...env, BKV_WEB_PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    url = await new Promise<string>((resolve, reject) => {
      server.once('exit', (code) => reject(new Error(`the page's server ended with ${code}`)));
      createInterface({ input: server.stdout as NodeJS.ReadableStream }).on('line', (line) =>
        resolve(/http:\S+/.exec(line)?.[0] as string),
      );
    });
    browser = await chromium.launch({
      ...(CHROMIUM && { executablePath: CHROMIUM }),
      args: ['--no-sandbox'],
    });
  });
  after(async () => {
    await browser?.close();
    server?.kill();
    rmSync(work, { recursive: true, force: true });
  });

  /** A device of its own: nothing is shared with the others. */
  async function device(account: string): Promise<Page> {
    const page = await (await browser.newContext({ acceptDownloads: true })).newPage();
    page.on('pageerror', (error) => assert.fail(error));
    await page.goto(url);
    await page.getByLabel('Your account').fill(account);
    return page;
  }
  const status = (page: Page) => page.getByRole('status');
  const said = async (page: Page, text: RegExp) => {
    await status(page).filter({ hasText: text }).waitFor();
  };
  const alerted = async (page: Page, text: RegExp) => {
    await page.getByRole('alert').filter({ hasText: text }).waitFor();
  };
  const choose = (page: Page) =>
    page.getByLabel('Files to back up').setInputFiles([join(work, 'cat.png'), join(work, 'notes.txt')]);
  const guess = async (page: Page, secret: string) => {
    await page.getByLabel('Password, or the 64 digits').fill(secret);
    await page.getByRole('button', { name: 'Restore' }).click();
  };
  const contents = async (page: Page, name: string): Promise<string> => {
    const waiting = page.waitForEvent('download');
    await page.getByRole('link', { name }).click();
    return readFileSync(await (await waiting).path(), 'latin1');
  };

  it('backs up with a password, and restores on another device', async () => {
    const old = await device('alice');
    await choose(old);
    await old.getByLabel('New password').fill('123456');
    await old.getByText('This password is very weak').waitFor();
    await old.getByRole('button', { name: 'Back up', exact: true }).click();
    await said(old, /among the first that are guessed/);
    await old.getByLabel('New password').fill('plume-otter-42-lantern');
    await old.getByText('This password is strong').waitFor();
    const waiting = old.waitForEvent('download');
    await old.getByRole('button', { name: 'Back up', exact: true }).click();
    await (await waiting).saveAs(archive);
    await said(old, /2 files are backed up/);
    assert.ok(!readFileSync(archive).includes('hello'));

    const other = await device('alice');
    await guess(other, 'plume-otter-42-lantern');
    await alerted(other, /Choose the file or the folder/);
    await other.getByLabel('The file that was downloaded').setInputFiles(archive);
    await guess(other, 'not-the-password');
    await alerted(other, /That password is wrong\. 9 attempts are left/);
    await guess(other, 'plume-otter-42-lantern');
    await said(other, /2 files are restored/);
    assert.equal(await contents(other, 'notes.txt'), 'hello\n');
    assert.equal(await contents(other, 'cat.png'), picture.toString('latin1'));
    assert.equal(await other.locator('img').evaluate((image: HTMLImageElement) => image.naturalWidth), 1);
    assert.equal(await other.getByLabel('Password, or the 64 digits').inputValue(), '');
  });

  it('closes for ever after ten wrong passwords, and says so', async () => {
    const page = await device('alice');
    await page.getByLabel('The file that was downloaded').setInputFiles(archive);
    for (let left = 9; left > 0; left--) {
      await guess(page, `guess ${left}`);
      await alerted(page, left === 1 ? /One attempt is left/ : new RegExp(` ${left} attempts are left`));
    }
    await guess(page, 'the last guess');
    await alerted(page, /it was the last attempt/);
    await guess(page, 'plume-otter-42-lantern');
    await alerted(page, /closed for ever/);
  }).timeout(120_000);

  it('with 64 digits needs no vault: they are shown in groups and as a QR code, and open the backup', async () => {
    const old = await device('bob');
    await old.route('**/v1/**', () => assert.fail('the vault was asked'));
    await choose(old);
    await old.getByLabel('64 digits, which only you keep').check();
    const waiting = old.waitForEvent('download');
    await old.getByRole('button', { name: 'Back up', exact: true }).click();
    await (await waiting).saveAs(archive);
    const digits = (await old.locator('pre').textContent()) as string;
    assert.match(digits, /^((?:[0-9a-f]{4} ){4} \d\d\n?){4}$/m);
    await old.getByRole('img', { name: /QR code/ }).waitFor();
    assert.equal(await old.evaluate(() => document.activeElement?.textContent), 'Your 64 digits');

    const other = await device('bob');
    await other.getByLabel('The file that was downloaded').setInputFiles(archive);
    await guess(
      other,
      digits.replace(/^./, (digit) => (digit === '0' ? '1' : '0')),
    );
    await alerted(other, /line 1 of the key is mistyped/);
    await guess(other, digits);
    await said(other, /2 files are restored/);
  });

  it('works with a folder, to which the next backup adds', async () => {
    const page = await device('carol');
    // What the picker gives is chosen by a person; a folder of the browser's own is one of the same kind.
    await page.evaluate(async () => {
      const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('cloud', {
        create: true,
      });
      Object.assign(window, { showDirectoryPicker: async () => folder });
    });
    await choose(page);
    await page.getByLabel('New password').fill('plume-otter-42-lantern');
    await page.getByLabel('A folder of this computer').check();
    for (let i = 0; i < 2; i++) {
      await page.getByRole('button', { name: 'Back up', exact: true }).click();
      await said(page, /2 files are backed up/);
    }
    await page.getByRole('button', { name: 'or choose the folder' }).click();
    await guess(page, 'plume-otter-42-lantern');
    await said(page, /2 files are restored/);
  });

  it('can be used with the keyboard alone, and tells assistive programs all that it shows', async () => {
    const page = await device('dora');
    const { violations } = await (async () => {
      // Evaluated, since the page's policy lets no foreign script in.
      await page.evaluate(readFileSync(axe, 'utf8'));
      return page.evaluate('axe.run()') as Promise<{ violations: { id: string }[] }>;
    })();
    assert.deepEqual(
      violations.map(({ id }) => id),
      [],
    );
    await page.getByLabel('Your account').focus();
    const reached: string[] = [];
    for (let i = 0; i < 20; i++) {
      await page.keyboard.press('Tab');
      reached.push(
        await page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent || ''),
      );
    }
    for (const id of [
      'files',
      'by-password',
      'new-password',
      'to-download',
      'Back up',
      'archive',
      'secret',
      'Restore',
    ])
      assert.ok(reached.includes(id), `${id} in ${reached}`);
    await page.getByLabel('A password.').focus();
    await page.keyboard.press('ArrowDown');
    assert.ok(await page.getByLabel('64 digits, which only you keep').isChecked());
    await choose(page);
    await page.getByRole('button', { name: 'Back up', exact: true }).focus();
    await page.keyboard.press('Enter');
    await said(page, /2 files are backed up/);
  });
});
