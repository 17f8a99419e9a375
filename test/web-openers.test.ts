import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { launch, servePage, Visitor } from './support/page.js';

const PASSWORD = 'plume-otter-42-lantern';
const PHONE = { viewport: { width: 390, height: 844 } };

describe('ways to open a backup, on the page', () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-ways-'));
  const file = (name: string) => join(work, name);
  let server: ChildProcess;
  let browser: Browser;
  let url: string;

  before(async () => {
    writeFileSync(file('notes.txt'), 'hello\n');
    [{ server, url }, browser] = await Promise.all([servePage(), launch()]);
  });
  after(async () => {
    await browser?.close();
    server?.kill();
    rmSync(work, { recursive: true, force: true });
  });

  const visit = (account: string, options = {}) => Visitor.at(browser, url, account, options);
  const restored = (visitor: Visitor) => visitor.step('1 file is restored');
  async function makeWithPasskey(visitor: Visitor, archive: string): Promise<void> {
    await visitor.chooseFiles([file('notes.txt')]);
    await visitor.open('With a passkey');
    await visitor.step('Make a passkey');
    await visitor.download(archive, () => visitor.press('Back up'));
    await visitor.step('1 file is backed up');
  }
  async function usePasskey(visitor: Visitor, archive: string): Promise<void> {
    await visitor.chooseBackup(archive);
    await visitor.open('With a passkey');
    await visitor.step('Open it with your passkey');
    await visitor.press('Use my passkey');
  }
  async function pieces(visitor: Visitor): Promise<string[]> {
    await visitor.step('Who do you trust?');
    await visitor.page.getByLabel('Their names').fill('Ann\nBen\nÇem');
    await visitor.press('Make the pieces');
    await visitor.step('A piece for each');
    return visitor.page.locator('#pieces pre').allTextContents();
  }
  async function give(visitor: Visitor, ...texts: string[]): Promise<void> {
    for (const text of texts) {
      await visitor.page.getByRole('textbox', { name: /Piece \d/ }).fill(text);
      await visitor.press('Continue');
    }
  }

  it('a passkey opens the backup in another browser profile that has it, and in none that does not', async () => {
    const visitor = await visit('ada', PHONE);
    const authenticator = await visitor.authenticator();
    await makeWithPasskey(visitor, file('ada.bkv'));
    await visitor.page.getByText('Your passkey opens it.').waitFor();
    await visitor.page
      .getByText('If you lose your passkey, nobody can open the backup. A second way makes it safe')
      .waitFor();
    await visitor.anotherProfile();
    await usePasskey(visitor, file('ada.bkv'));
    await restored(visitor);
    assert.equal(await visitor.content('notes.txt'), 'hello\n');

    const other = await visit('ada');
    await other.authenticator();
    await usePasskey(other, file('ada.bkv'));
    await other.alerted(/No passkey was used\. Try again, or go back/);
    // Try with a passkey of another backup.
    await other.page.reload();
    await makeWithPasskey(other, file('ada-other.bkv'));
    await other.press('Done');
    await usePasskey(other, file('ada.bkv'));
    await other.alerted(/This passkey opens another backup/);

    const [credential] = await authenticator.credentials();
    await authenticator.forget(credential as string);
    await visitor.page.reload();
    await usePasskey(visitor, file('ada.bkv'));
    await visitor.alerted(/No passkey was used/);
  }).timeout(60_000);

  it('says plainly that a passkey cannot lock files, before anything depends on it, and when its dialogue is closed', async () => {
    const poor = await visit('bo');
    const authenticator = await poor.authenticator(false);
    await poor.chooseFiles([file('notes.txt')]);
    await poor.open('With a passkey');
    await poor.step('Make a passkey');
    await poor.press('Back up');
    await poor.alerted(/cannot lock files\. Nothing was made that depends on one/);
    await poor.accessible();
    await poor.press('Back');
    await poor.open('With 64 digits');
    await poor.keepDigits();
    await poor.download(file('bo.bkv'), () => poor.press('Back up'));
    // The useless passkey is no longer offered, if the system lets the page take it back.
    assert.ok((await authenticator.credentials()).length <= 1);

    const shy = await visit('bo');
    const refusing = await shy.authenticator();
    await refusing.replace(false);
    await shy.chooseFiles([file('notes.txt')]);
    await shy.open('With a passkey');
    await shy.press('Back up');
    await shy.alerted(/No passkey was used/);
    await refusing.replace(true);
    await shy.download(file('bo-2.bkv'), () => shy.press('Back up'));

    const without = await browser.newContext();
    await without.addInitScript(() => Object.assign(window, { PublicKeyCredential: undefined }));
    const old = await Visitor.in(await without.newPage(), url, 'bo');
    await old.chooseFiles([file('notes.txt')]);
    assert.ok(await old.page.getByRole('radio', { name: 'With a passkey' }).isHidden());
    await old.page.getByRole('button', { name: 'Back' }).locator('visible=true').click();
  }).timeout(60_000);

  it('each way opens what another made, adds the next, and stays when others are removed', async () => {
    const visitor = await visit('cleo', PHONE);
    const { page } = visitor;
    await visitor.authenticator();
    await makeWithPasskey(visitor, file('cleo.bkv'));
    await visitor.press('Ways to open it');
    assert.equal((await visitor.ways()).length, 1);
    await page.getByText('There is only one').waitFor();
    await visitor.accessible();
    assert.equal(await page.getByRole('button', { name: /^Remove/ }).count(), 0);

    // The passkey opens the backup and adds digits. It is refused as a second passkey.
    await visitor.addWay('A passkey');
    await visitor.press('Add it');
    await visitor.alerted(/has a passkey for this backup already/);
    await visitor.press('Back');
    await page.getByRole('radio', { name: '64 digits' }).check();
    await visitor.press('Continue');
    const digits = await visitor.keepDigits();
    await visitor.download(file('cleo.bkv'), () => visitor.press('Add it'));
    assert.deepEqual((await visitor.ways())[1], '64 digits');
    await page.getByText('The new file is with your downloads').waitFor();

    // The digits add contacts.
    await visitor.press('Done');
    await visitor.chooseBackup(file('cleo.bkv'));
    await visitor.open('With 64 digits');
    await visitor.digits(digits);
    await restored(visitor);
    await visitor.press('Ways to open it');
    await visitor.addWay('People you trust');
    const [ann, ben, cem] = (await pieces(visitor)) as [string, string, string];
    await visitor.accessible();
    await visitor.download(file('cleo.bkv'), () => visitor.press('Add it'));
    assert.equal((await visitor.ways())[2], '2 of 3 people: Ann, Ben, Çem');
    assert.ok(!(await page.content()).includes(ann.slice(0, 14)), 'the pieces are out of the page');

    // The contacts add a password.
    await visitor.press('Done');
    await visitor.chooseBackup(file('cleo.bkv'));
    await visitor.open('With people you trust');
    await give(visitor, ann.replace(/.$/, 'U'));
    await visitor.alerted(/Piece 1, line 3, character 29: "U" is in no piece/);
    await give(visitor, ann);
    await page.getByText('1 piece is right, of 2 that are needed').waitFor();
    await give(visitor, ann);
    await visitor.alerted(/Piece 2 is the same as piece 1/);
    await give(visitor, cem.toLowerCase().replace(/0/g, 'o'));
    await restored(visitor);
    await visitor.press('Ways to open it');
    await visitor.addWay('A password');
    await visitor.step('Choose a password');
    await visitor.download(file('cleo.bkv'), () => visitor.newPassword(PASSWORD, PASSWORD, 'Add it'));
    const all = await visitor.ways();
    assert.equal(all.length, 4);
    await visitor.accessible();
    const list = (await page.locator('#ways-list').textContent()) as string;
    assert.match(list, /Last used on this device on/);
    assert.match(list, /You opened the backup with it just now/);

    const names = { passkey: all[0], digits: all[1], contacts: all[2], password: all[3] } as Record<
      string,
      string
    >;
    const open: Record<string, () => Promise<void>> = {
      passkey: async () => {
        await visitor.open('With a passkey');
        await visitor.press('Use my passkey');
      },
      digits: async () => {
        await visitor.open('With 64 digits');
        await visitor.digits(digits);
      },
      contacts: async () => {
        await visitor.open('With people you trust');
        await give(visitor, ben, cem);
      },
      password: async () => {
        await visitor.open('With a password');
        await visitor.password(PASSWORD);
      },
    };
    const ways = Object.keys(open);
    for (const [i, one] of ways.entries())
      for (const other of ways.slice(i + 1)) {
        const pair = `${one} and ${other}`;
        await visitor.anotherProfile();
        await visitor.chooseBackup(file('cleo.bkv'));
        await open[one]?.();
        await restored(visitor);
        await visitor.press('Ways to open it');
        for (const gone of ways.filter((way) => way !== one && way !== other)) {
          await visitor.ways();
          await visitor.press(`Remove ${names[gone]}`);
          await visitor.download(file('pair.bkv'), () => visitor.press('Remove it'));
        }
        assert.deepEqual((await visitor.ways()).sort(), [names[one], names[other]].sort(), pair);
        await visitor.press('Done');
        await visitor.chooseBackup(file('pair.bkv'));
        await open[other]?.();
        await restored(visitor);
        assert.equal(await visitor.content('notes.txt'), 'hello\n', pair);
      }
  }).timeout(180_000);

  it('a removed way adds nothing to a folder, and an older copy of a backup is reported', async () => {
    const visitor = await visit('dora');
    const { page } = visitor;
    const toFolder = async () => {
      await visitor.useFolder('cloud');
      await visitor.begin('Back up');
      await page.getByLabel('Choose files').setInputFiles([file('notes.txt')]);
      await visitor.press('Continue');
      await page.getByRole('radio', { name: 'A folder' }).check();
      await visitor.press('Continue');
    };
    await toFolder();
    await visitor.open('With 64 digits');
    const digits = await visitor.keepDigits();
    await visitor.press('Back up');
    await visitor.step('1 file is backed up');
    await visitor.press('Ways to open it');
    await visitor.addWay('64 digits');
    const second = await visitor.keepDigits();
    await visitor.press('Add it');
    await visitor.ways();
    const tab = await Visitor.in(await page.context().newPage(), url, 'dora');
    await tab.useFolder('cloud');
    await tab.begin('Restore');
    await tab.press('Choose a folder instead');
    await tab.page.getByText('Folder: cloud').waitFor();
    await tab.press('Continue');
    await tab.open('With 64 digits');
    await tab.digits(digits);
    await restored(tab);
    await tab.press('Ways to open it');
    assert.equal((await tab.ways()).length, 2);
    await page.getByRole('button', { name: /^Remove/ }).click();
    await visitor.step('Remove this way?');
    await visitor.accessible();
    await visitor.press('Remove it');
    assert.equal((await visitor.ways()).length, 1);
    // The other tab still shows the removed way.
    await tab.page.getByRole('button', { name: /^Remove/ }).click();
    await tab.press('Remove it');
    await tab.page.locator('#ways-alone').waitFor();
    assert.equal((await tab.ways()).length, 1);
    await visitor.press('Done');
    await toFolder();
    await visitor.open('With 64 digits');
    await visitor.digits(second);
    await visitor.alerted(/was removed from it, so nothing can be added/);
    await page.reload();
    await toFolder();
    await visitor.open('With 64 digits');
    await visitor.digits(digits);
    await visitor.step('1 file is backed up');
  }).timeout(60_000);
});
