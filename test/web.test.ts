import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { unzipSync } from 'fflate';
import type { Browser } from 'playwright-core';
import { encodeQR } from 'qr';
import { generateKE1 } from '../src/protocol/index.js';
import { choose } from '../src/web/selection.js';
import { launch, servePage, Visitor, type VisitorOptions } from './support/page.js';

const PASSWORD = 'plume-otter-42-lantern';
const PHONE = { viewport: { width: 390, height: 844 } };
const picture = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
);
const photo = (name: string, content: string | Buffer) => ({
  name,
  mimeType: 'application/octet-stream',
  buffer: Buffer.from(content),
});

describe('the page in a browser', () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-page-'));
  const file = (name: string) => join(work, name);
  let server: ChildProcess;
  let browser: Browser;
  let url: string;

  before(async () => {
    writeFileSync(file('cat.png'), picture);
    writeFileSync(file('notes.txt'), 'hello\n');
    [{ server, url }, browser] = await Promise.all([servePage(), launch()]);
  });
  after(async () => {
    await browser?.close();
    server?.kill();
    rmSync(work, { recursive: true, force: true });
  });

  const visit = (account: string, options: VisitorOptions = {}) => Visitor.at(browser, url, account, options);
  const notes = () => [file('notes.txt')];
  /** Backs up with a new password, and keeps the file. */
  async function backUp(visitor: Visitor, archive: string, password = PASSWORD): Promise<void> {
    await visitor.chooseFiles(notes());
    await visitor.open('With a password');
    await visitor.step('Choose a password');
    await visitor.download(archive, () => visitor.newPassword(password));
    await visitor.step('1 file is backed up');
  }
  async function restores(
    visitor: Visitor,
    archive: string,
    secret: string,
    files = '1 file is',
  ): Promise<void> {
    await visitor.chooseBackup(archive);
    const isDigits = secret.length > 60;
    await visitor.open(isDigits ? 'With 64 digits' : 'With a password');
    await (isDigits ? visitor.digits(secret) : visitor.password(secret));
    await visitor.step(`${files} restored`);
    await visitor.page.getByText('only on this page so far').waitFor();
  }
  /** Sends a request to the vault directly, without the page. */
  const ask = async (account: string, method: string, path: string, body?: object) => {
    const token = await (await fetch(`${url}demo/login`, { method: 'POST', body: account })).text();
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const init = { method, headers, ...(body && { body: JSON.stringify(body) }) };
    const answer = await fetch(`${url}v1/${path}`, init);
    return answer.status === 200 ? await answer.json() : {};
  };
  const attempts = async (account: string): Promise<unknown> =>
    (await ask(account, 'GET', 'account')).attemptsRemaining;
  /** Spends attempts like wrong passwords, but without the time for stretching. */
  async function waste(account: string, count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const KE1 = Buffer.from(generateKE1(Buffer.from('a guess')).KE1).toString('base64url');
      const { recoveryId } = await ask(account, 'POST', 'recovery/start', { KE1 });
      await ask(account, 'DELETE', `recovery/${recoveryId}`);
    }
  }

  it('backs up with a password, and restores on another device', async () => {
    const old = await visit('alice', { ...PHONE, argon2: true });
    await old.chooseFiles([file('cat.png'), file('notes.txt')]);
    await old.open('With a password');
    await old.step('Choose a password');
    await old.newPassword('');
    await old.alerted(/The password is empty/);
    await old.newPassword(PASSWORD, 'plume-otter-42-lanterm');
    await old.alerted(/not the same/);
    await old.newPassword('123456');
    await old.alerted(/among the first that are guessed/);
    await old.newPassword('snoopy77');
    await old.alerted(/This password is weak/);
    await old.accessible();
    await old.page.locator('#new-password').getByLabel('Show the password').check();
    assert.equal(await old.page.getByLabel('New password', { exact: true }).getAttribute('type'), 'text');
    const workers: string[] = [];
    old.page.on('worker', (worker) => workers.push(worker.url()));
    await old.download(file('alice.bkv'), () => old.newPassword(PASSWORD));
    await old.step('2 files are backed up');
    await old.accessible();
    assert.equal(workers.length, 1, 'Argon2id runs beside the page');
    assert.deepEqual(old.page.workers(), [], 'and its memory is given back');
    assert.ok(!readFileSync(file('alice.bkv')).includes('hello'));
    assert.equal(await old.page.locator('#new-secret').inputValue(), '');

    const other = await visit('alice', { argon2: true });
    await other.begin('Restore');
    await other.press('Continue');
    await other.alerted(/Choose the file or the folder/);
    await other.page.getByLabel('The backup file').setInputFiles(file('notes.txt'));
    await other.press('Continue');
    await other.alerted(/not a backup/);
    await other.page.getByLabel('The backup file').setInputFiles(file('alice.bkv'));
    await other.press('Continue');
    await other.open('With a password');
    await other.password('');
    await other.alerted(/The password is empty/);
    await other.password('not-the-password');
    await other.alerted(/That password is wrong\. 9 tries are left/);
    assert.equal(await other.page.evaluate(() => document.activeElement?.id), 'secret');
    await other.password(PASSWORD);
    await other.step('2 files are restored');
    await other.accessible();
    assert.equal(await other.content('notes.txt'), 'hello\n');
    assert.equal(await other.content('cat.png'), picture.toString('latin1'));
    assert.equal(
      await other.page.locator('img').evaluate((image: HTMLImageElement) => image.naturalWidth),
      1,
    );
    assert.equal(await other.page.locator('#secret').inputValue(), '');
    assert.equal(await attempts('alice'), 10);
  });

  it('asks for the existing password, on a second device and after a reload: one key opens all', async () => {
    const first = await visit('bea');
    await backUp(first, file('bea-1.bkv'));
    await first.page.reload();
    await first.chooseFiles(notes());
    await first.open('With a password');
    await first.download(file('bea-2.bkv'), () => first.password(PASSWORD));
    const second = await visit('bea');
    await second.chooseFiles(notes());
    await second.open('With a password');
    await second.password('a guess');
    await second.alerted(/9 tries are left/);
    await second.download(file('bea-3.bkv'), () => second.password(PASSWORD));
    await second.step('1 file is backed up');
    assert.ok(await second.page.locator('#guesses').isHidden(), 'her own slip is none of somebody else');
    const last = await visit('bea');
    for (const archive of ['bea-1.bkv', 'bea-2.bkv', 'bea-3.bkv']) {
      await restores(last, file(archive), PASSWORD);
      await last.press('Done');
    }
  }).timeout(90_000);

  it('reports wrong passwords that somebody else tried, and lets a new password be chosen', async () => {
    const visitor = await visit('ben', PHONE);
    await backUp(visitor, file('ben.bkv'));
    await waste('ben', 2);
    await visitor.page.reload();
    await restores(visitor, file('ben.bkv'), PASSWORD);
    await visitor.page.getByText('2 wrong passwords were tried since you last opened your backup').waitFor();
    await visitor.accessible();
    await visitor.press('Choose a new password');
    await visitor.password(PASSWORD);
    await visitor.step('Choose a password');
    await visitor.newPassword('garnet-tuba-17-meadow', undefined, 'Change it');
    await visitor.step('Your password is changed');
    await visitor.accessible();
    await visitor.press('Done');
    await restores(visitor, file('ben.bkv'), 'garnet-tuba-17-meadow');
    assert.ok(await visitor.page.locator('#guesses').isHidden());
    await visitor.press('Done');
    await visitor.chooseBackup(file('ben.bkv'));
    await visitor.open('With a password');
    await visitor.password(PASSWORD);
    await visitor.alerted(/9 tries are left/);
  }).timeout(90_000);

  it('replaces a password only after telling what is lost', async () => {
    await backUp(await visit('cora'), file('cora.bkv'));
    const other = await visit('cora', PHONE);
    await other.chooseFiles(notes());
    await other.open('With a password');
    await other.step('Type your password');
    await other.press('I do not know it any more');
    await other.step('Give up the old password?');
    await other.page.getByText('every older backup, on every device').waitFor();
    await other.press('Choose a new password');
    await other.alerted(/Tick the box/);
    await other.accessible();
    await other.press('Back');
    await other.press('Back');
    await restores(await visit('cora'), file('cora.bkv'), PASSWORD);

    await other.open('With a password');
    await other.step('Type your password');
    await other.press('I do not know it any more');
    await other.page.getByLabel('I understand what is lost').check();
    await other.press('Choose a new password');
    await other.step('Choose a password');
    await other.download(file('cora-2.bkv'), () => other.newPassword('garnet-tuba-17-meadow'));
    const third = await visit('cora');
    await third.chooseBackup(file('cora.bkv'));
    await third.open('With a password');
    await third.password('garnet-tuba-17-meadow');
    await third.alerted(/The password is right, but this backup was made with another key/);
    await restores(await visit('cora'), file('cora-2.bkv'), 'garnet-tuba-17-meadow');
  }).timeout(90_000);

  it('makes a backup that both password and digits open, or the digits alone', async () => {
    const visitor = await visit('dan');
    await backUp(visitor, file('dan.bkv'));
    await visitor.press('Done');
    await visitor.chooseFiles(notes());
    await visitor.open('With 64 digits');
    await visitor.step('Should your password open it, too?');
    await visitor.press('Continue');
    await visitor.password(PASSWORD);
    const digits = await visitor.keepDigits();
    await visitor.download(file('dan-2.bkv'), () => visitor.press('Back up'));
    await visitor.page.getByText('Your password and your 64 digits both open it.').waitFor();
    assert.ok(
      !(await visitor.page.content()).includes(digits.slice(0, 19)),
      'the digits are out of the page',
    );
    const other = await visit('dan');
    await restores(other, file('dan-2.bkv'), digits);
    await other.press('Done');
    await restores(other, file('dan-2.bkv'), PASSWORD);
    await other.press('Done');
    await other.chooseBackup(file('dan.bkv'));
    await other.open('With 64 digits');
    await other.digits(digits);
    await other.alerted(/digits of another backup/);

    await visitor.press('Done');
    await visitor.chooseFiles(notes());
    await visitor.open('With 64 digits');
    await visitor.page.getByRole('radio', { name: 'No, only the digits' }).check();
    await visitor.press('Continue');
    assert.notEqual(await visitor.keepDigits(), digits);
    await visitor.download(file('dan-3.bkv'), () => visitor.press('Back up'));
    await visitor.page.getByText('Your 64 digits open it.').waitFor();
  }).timeout(90_000);

  it('shows the same digits for the next backup of a visit; a password chosen after them is a separate way', async () => {
    const visitor = await visit('erin');
    await visitor.chooseFiles(notes());
    await visitor.open('With 64 digits');
    const digits = await visitor.keepDigits();
    await visitor.download(file('erin.bkv'), () => visitor.press('Back up'));
    await visitor.press('Done');
    await visitor.chooseFiles(notes());
    await visitor.open('With 64 digits');
    assert.equal(await visitor.keepDigits(), digits);
    await visitor.download(file('erin-2.bkv'), () => visitor.press('Back up'));
    await visitor.press('Done');
    await backUp(visitor, file('erin-3.bkv'));
    await restores(await visit('erin'), file('erin-2.bkv'), digits);
    await restores(await visit('erin'), file('erin-3.bkv'), PASSWORD);
  }).timeout(90_000);

  it('lets the second of two tabs know that the first has set a password', async () => {
    const one = await visit('fay');
    const two = await Visitor.in(await one.page.context().newPage(), url, 'fay');
    for (const tab of [one, two]) {
      await tab.chooseFiles(notes());
      await tab.open('With a password');
      await tab.step('Choose a password');
    }
    await one.download(file('fay.bkv'), () => one.newPassword(PASSWORD));
    await two.newPassword('garnet-tuba-17-meadow');
    await two.password(PASSWORD);
    await two.step('1 file is backed up');
    await restores(await visit('fay'), file('fay.bkv'), PASSWORD);
  }).timeout(90_000);

  it('is not harmed by an answer that is lost, or by a reload after a registration', async () => {
    const visitor = await visit('gil');
    await visitor.chooseFiles(notes());
    await visitor.open('With a password');
    await visitor.step('Choose a password');
    // What hinders the registration is told without the vault's own words.
    for (const [path, answer, told] of [
      [
        'v1/registration/start',
        { status: 503, json: { detail: 'this daemon stands by' } },
        /cannot answer just now/,
      ],
      [
        'v1/identity',
        { status: 200, contentType: 'text/html', body: '<h1>Guests' },
        /network wants you to sign in/,
      ],
      [
        'v1/identity',
        { status: 404, contentType: 'text/html', body: '<h1>Guests' },
        /network wants you to sign in/,
      ],
      ['demo/login', { status: 500, body: 'not now' }, /could not be signed in/],
    ] as const) {
      await visitor.page.route(`**/${path}`, (route) => route.fulfill(answer));
      await visitor.newPassword(PASSWORD);
      await visitor.alerted(told);
      await visitor.page.unroute(`**/${path}`);
    }
    // The vault registers, but its first answer is lost. So the same message is sent again.
    let sent = 0;
    await visitor.page.clock.install();
    await visitor.page.route('**/v1/registration/finish', async (route) => {
      const response = await route.fetch();
      if (sent++ > 0) return route.fulfill({ response });
      await visitor.page.clock.fastForward(10_000);
      await visitor.page.getByText('Setting up the password … This takes longer than usual.').waitFor();
      return route.abort();
    });
    await visitor.download(file('first.bkv'), () => visitor.newPassword(PASSWORD));
    assert.equal(sent, 2);
    await visitor.step('1 file is backed up');
    await visitor.page.reload();
    await visitor.chooseFiles(notes());
    await visitor.open('With a password');
    await visitor.download(file('gil.bkv'), () => visitor.password(PASSWORD));
    await restores(await visit('gil'), file('gil.bkv'), PASSWORD);
  }).timeout(90_000);

  it('says after ten wrong passwords that it is closed, invites no more tries, and lets the person begin anew', async () => {
    const page = await visit('hal', PHONE);
    await backUp(page, file('hal.bkv'));
    await page.page.reload();
    await page.chooseBackup(file('hal.bkv'));
    await page.open('With a password');
    await page.password('a guess');
    await page.alerted(/ 9 tries are left\.$/);
    await waste('hal', 5);
    for (const told of [
      / 3 tries are left\. After that/,
      / 2 tries are left/,
      /One try is left\. After that/,
    ]) {
      await page.password('a guess');
      await page.alerted(told);
    }
    // Somebody who comes back is warned before the last try.
    const other = await visit('hal', PHONE);
    await other.chooseBackup(file('hal.bkv'));
    await other.open('With a password');
    await other.page.locator('.warning', { hasText: 'One try is left. If it is wrong' }).waitFor();
    await page.password('the last guess');
    await page.step('The password is closed for ever');
    await page.accessible();
    assert.equal(await page.page.locator('input[type=password]:visible').count(), 0);
    await page.page.reload();
    await page.chooseBackup(file('hal.bkv'));
    await page.open('With a password');
    await page.step('The password is closed for ever');
    await page.press('Back up again');
    await page.page.getByLabel('Choose files').setInputFiles(notes());
    await page.press('Continue');
    await page.press('Continue');
    await page.open('With a password');
    await page.step('Give up the old password?');
    await page.page.getByLabel('I understand what is lost').check();
    await page.press('Choose a new password');
    await page.step('Choose a password');
    await page.download(file('hal-2.bkv'), () => page.newPassword('garnet-tuba-17-meadow'));
    await restores(await visit('hal'), file('hal-2.bkv'), 'garnet-tuba-17-meadow');
  }).timeout(120_000);

  describe('on a device that cannot do the calculation', () => {
    before(async () => backUp(await visit('ivy', { argon2: true }), file('ivy.bkv')));

    it('says before the vault is asked that there is no WebAssembly, as in Lockdown Mode', async () => {
      const visitor = await visit('ivy', { argon2: true });
      await visitor.page.context().route('**/stretch-worker.js', async (route) => {
        const response = await route.fetch();
        await route.fulfill({ response, body: `${await response.text()};delete globalThis.WebAssembly` });
      });
      await visitor.chooseBackup(file('ivy.bkv'));
      await visitor.open('With a password');
      await visitor.password(PASSWORD);
      await visitor.alerted(/lacks WebAssembly or 64 MB.*no try was lost/);
      assert.equal(await attempts('ivy'), 10);
    }).timeout(90_000);

    it('says before the vault is asked that it cannot get 64 MiB of memory', async () => {
      const poor = await launch('--js-flags=--wasm-max-mem-pages=512');
      try {
        const visitor = await Visitor.at(poor, url, 'ivy', { argon2: true });
        await visitor.chooseBackup(file('ivy.bkv'));
        await visitor.open('With a password');
        for (let i = 0; i < 2; i++) {
          await visitor.password(PASSWORD);
          await visitor.alerted(/lacks WebAssembly or 64 MB.*no try was lost/);
        }
        assert.equal(await attempts('ivy'), 10);
      } finally {
        await poor.close();
      }
    }).timeout(90_000);

    it('says the same if a policy forbids WebAssembly', async () => {
      const visitor = await visit('ivy', { argon2: true });
      await visitor.page.context().route('**/*', async (route) => {
        const response = await route.fetch();
        const policy =
          response.headers()['content-security-policy']?.replace(" 'wasm-unsafe-eval'", '') ?? '';
        await route.fulfill({
          response,
          headers: { ...response.headers(), 'content-security-policy': policy },
        });
      });
      await visitor.page.reload();
      await visitor.chooseBackup(file('ivy.bkv'));
      await visitor.open('With a password');
      visitor.page.removeAllListeners('console');
      await visitor.password(PASSWORD);
      await visitor.alerted(/lacks WebAssembly/);
      assert.equal(await attempts('ivy'), 10);
    }).timeout(90_000);

    it('does not say that no try was spent if the vault was asked', async () => {
      const visitor = await visit('ivy', { argon2: true });
      await visitor.chooseBackup(file('ivy.bkv'));
      await visitor.open('With a password');
      await visitor.page.route('**/v1/recovery/start', async (route) => {
        await route.fetch();
        await route.abort();
      });
      await visitor.password(PASSWORD);
      await visitor.alerted(/may have counted this as one try/);
      assert.equal(await attempts('ivy'), 9);
      await visitor.page.route('**/demo/config', (route) => route.abort());
      await visitor.password(PASSWORD);
      await visitor.alerted(/^The vault did not answer\. Check the network, and try again\.$/);
      assert.equal(await attempts('ivy'), 9);
    }).timeout(60_000);
  });

  it('with 64 digits needs no vault: they are shown in groups and as a QR code, and open the backup', async () => {
    const old = await visit('bob', { ...PHONE, colorScheme: 'dark' });
    await old.page.route('**/v1/**', (route) => route.abort());
    await old.chooseFiles(notes());
    await old.open('With 64 digits');
    await old.step('Your 64 digits');
    await old.accessible();
    const digits = (await old.page.locator('#digits').textContent()) as string;
    assert.match(digits, /^((?:[0-9a-f]{4} ){4} \d\d\n?){4}$/m);
    await old.press('I have them');
    await old.page.getByLabel(/Type line/).fill('0000 0000');
    await old.press('Back up');
    await old.alerted(/This is not line \d/);
    await old.press('Back');
    const code = old.page.getByRole('img', { name: /QR code/ });
    await code.screenshot({ path: file('code.png') });
    const [border, side] = await code.evaluate((svg) => {
      const [, , side] = (svg.getAttribute('viewBox') as string).split(' ').map(Number) as number[];
      const [x = 0, y = 0] =
        /M(\d+) (\d+)/.exec(svg.querySelector('path')?.getAttribute('d') ?? '')?.slice(1) ?? [];
      const paper = svg.querySelector('rect') as SVGRectElement;
      return [`${x} ${y} ${getComputedStyle(paper).fill} ${paper.getAttribute('width')}`, side];
    });
    assert.equal(border, `4 4 rgb(255, 255, 255) ${side}`, 'four modules of white, in dark mode too');
    await old.keepDigits();
    await old.download(file('bob.bkv'), () => old.press('Back up'));

    const other = await visit('bob');
    await other.chooseBackup(file('bob.bkv'));
    await other.open('With 64 digits');
    await other.digits(digits.replace(/^./, (digit) => (digit === '0' ? '1' : '0')));
    await other.alerted(/[Ll]ine 1/);
    await other.page.getByLabel('Choose a picture of it').setInputFiles(file('cat.png'));
    await other.page.getByText('No QR code was found').waitFor();
    await other.page.getByLabel('Choose a picture of it').setInputFiles(file('code.png'));
    await other.page.getByText('The code was read').waitFor();
    await other.press('Continue');
    await other.step('1 file is restored');
  });

  it('reads the QR code from the camera', async () => {
    const old = await visit('lea');
    await old.chooseFiles(notes());
    await old.open('With 64 digits');
    const digits = await old.keepDigits();
    await old.download(file('lea.bkv'), () => old.press('Back up'));
    writeFileSync(file('camera.y4m'), film(digits.replace(/\s/g, '')));
    const seeing = await launch(
      '--use-fake-ui-for-media-stream',
      '--use-fake-device-for-media-stream',
      `--use-file-for-fake-video-capture=${file('camera.y4m')}`,
    );
    try {
      const visitor = await Visitor.at(seeing, url, 'lea', { permissions: ['camera'] });
      await visitor.chooseBackup(file('lea.bkv'));
      await visitor.open('With 64 digits');
      await visitor.press('Scan the QR code');
      await visitor.page.getByText('The code was read').waitFor();
      assert.ok(await visitor.page.locator('video').isHidden());
      await visitor.press('Continue');
      await visitor.step('1 file is restored');
    } finally {
      await seeing.close();
    }
    const blind = await visit('lea');
    await blind.chooseBackup(file('lea.bkv'));
    await blind.open('With 64 digits');
    await blind.press('Scan the QR code');
    await blind.page.getByText('The camera cannot be used').waitFor();
  }).timeout(60_000);

  it('never sends digits to the vault as a password, however they are mistyped', async () => {
    const old = await visit('max');
    await backUp(old, file('max.bkv'));
    await old.press('Done');
    await old.chooseFiles(notes());
    await old.open('With 64 digits');
    await old.page.getByRole('radio', { name: 'No, only the digits' }).check();
    await old.press('Continue');
    const digits = await old.keepDigits();
    const visitor = await visit('max');
    await visitor.page.route('**/v1/recovery/**', () => assert.fail('the vault was asked'));
    const typos = [
      digits,
      digits.replace(/\s/g, ''),
      digits.slice(1),
      digits.replaceAll('0', 'O').replaceAll('1', 'l'),
      digits.replaceAll(' ', '–'),
      digits.replace(/\d/g, (digit) => String.fromCharCode(0xff10 + Number(digit))),
      digits.replace(/\d/g, (digit) => String.fromCharCode(0x0660 + Number(digit))),
    ];
    await visitor.chooseBackup(file('max.bkv'));
    for (const typo of typos) {
      await visitor.open('With a password');
      await visitor.password(typo.replace(/\n/g, ' '));
      await visitor.alerted(/looks like 64 digits/);
      await visitor.press('Back');
      assert.equal(await visitor.page.locator('#secret').inputValue(), '');
      await visitor.press('Back');
    }
    assert.equal(await attempts('max'), 10);
  }).timeout(60_000);

  it('keeps two photos with one name, and the folders in a folder', async () => {
    const visitor = await visit('nia');
    mkdirSync(file('trip/day 1'), { recursive: true });
    for (const path of ['trip/image.jpg', 'trip/day 1/image.jpg']) writeFileSync(file(path), path);
    await visitor.begin('Back up');
    const { page } = visitor;
    await page
      .getByLabel('Choose files')
      .setInputFiles([photo('image.jpg', 'one'), photo('Image.jpg', 'two')]);
    await page.getByLabel('Choose files').setInputFiles([photo('image.jpg', 'three')]);
    await page.getByText('Some had the same name').waitFor();
    await page.getByLabel('Choose a folder').setInputFiles(file('trip'));
    await page.getByText('5 files').waitFor();
    await visitor.press('Continue');
    await visitor.press('Continue');
    await visitor.open('With 64 digits');
    const digits = await visitor.keepDigits();
    await visitor.download(file('nia.bkv'), () => visitor.press('Back up'));
    const other = await visit('nia');
    await restores(other, file('nia.bkv'), digits, '5 files are');
    assert.equal(await other.content('image.jpg'), 'one');
    await other.download(file('all.zip'), () => other.press('Save all as one .zip'));
    const all = unzipSync(readFileSync(file('all.zip')));
    assert.deepEqual(
      Object.fromEntries(Object.entries(all).map(([path, bytes]) => [path, String(Buffer.from(bytes))])),
      {
        'image.jpg': 'one',
        'Image (2).jpg': 'two',
        'image (3).jpg': 'three',
        'trip/image.jpg': 'trip/image.jpg',
        'trip/day 1/image.jpg': 'trip/day 1/image.jpg',
      },
    );
  });

  it('never gives two files the same path', () => {
    const paths = (...names: string[]) =>
      choose(
        names.map(
          (name) =>
            ({ name: name.split('/').at(-1), webkitRelativePath: name.includes('/') ? name : '' }) as File,
        ),
      ).map(({ path }) => path);
    assert.deepEqual(paths('a.jpg', 'a.jpg', 'a (2).jpg'), ['a.jpg', 'a (2).jpg', 'a (2) (2).jpg']);
    assert.deepEqual(paths('é', 'e\u0301'), ['é', 'e\u0301 (2)']);
    assert.deepEqual(paths('trip', 'trip/a'), ['trip (2)', 'trip/a']);
    assert.deepEqual(paths('.rc', '.rc', 'x.tar.gz', 'x.tar.gz'), [
      '.rc',
      '.rc (2)',
      'x.tar.gz',
      'x.tar (2).gz',
    ]);
  });

  it('adds to the backup in a folder with its existing key, and to nothing else', async () => {
    const visitor = await visit('carol');
    const toFolder = async () => {
      await visitor.begin('Back up');
      await visitor.page.getByLabel('Choose files').setInputFiles(notes());
      await visitor.press('Continue');
      await visitor.page.getByRole('radio', { name: 'A folder' }).check();
      await visitor.press('Continue');
    };
    await visitor.useFolder('other', ['letter.txt']);
    await toFolder();
    await visitor.alerted(/something else in this folder/);
    await visitor.useFolder('cloud');
    await visitor.press('Continue');
    await visitor.open('With a password');
    await visitor.step('Choose a password');
    await visitor.newPassword(PASSWORD);
    await visitor.step('1 file is backed up');

    await visitor.page.reload();
    await visitor.useFolder('cloud');
    await toFolder();
    await visitor.step('How do you open this backup?');
    await visitor.open('With 64 digits');
    await visitor.digits('0'.repeat(64));
    await visitor.alerted(/digits of another backup/);
    await visitor.press('Back');
    await visitor.open('With a password');
    await visitor.password(PASSWORD);
    await visitor.step('1 file is backed up');

    await visitor.press('Done');
    await visitor.begin('Restore');
    await visitor.press('Choose a folder instead');
    await visitor.page.getByText('Folder: cloud').waitFor();
    await visitor.press('Continue');
    await visitor.open('With a password');
    await visitor.password(PASSWORD);
    await visitor.step('1 file is restored');
  }).timeout(90_000);

  it('forgets secrets when the person leaves, and asks before they leave in the middle', async () => {
    const visitor = await visit('oda');
    await visitor.chooseFiles(notes());
    await visitor.open('With 64 digits');
    await visitor.step('Your 64 digits');
    const left = await visitor.page.evaluate(() => {
      dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }));
      return document.querySelector('#digits')?.textContent;
    });
    assert.equal(left, '');
    await visitor.page.reload();
    await visitor.chooseFiles(notes());
    await visitor.open('With a password');
    await visitor.step('Choose a password');
    await visitor.page.route('**/v1/registration/finish', () => new Promise(() => undefined));
    const asked = visitor.page.waitForEvent('dialog');
    await visitor.newPassword(PASSWORD);
    await visitor.page.waitForRequest('**/v1/registration/finish');
    void visitor.page.close({ runBeforeUnload: true });
    const dialog = await asked;
    assert.equal(dialog.type(), 'beforeunload');
    await dialog.accept();
  });

  it('goes one step back with the browser’s button, and then forgets what it forgets with its own', async () => {
    const visitor = await visit('mia');
    const { page } = visitor;
    await visitor.chooseFiles(notes());
    await visitor.open('With a password');
    await visitor.step('Choose a password');
    await page.getByLabel('New password', { exact: true }).fill(PASSWORD);
    await page.goBack();
    await visitor.step(/open it later/);
    await page.goForward();
    await page.goBack();
    await visitor.step(/go\?$/);
    await visitor.press('Continue');
    await visitor.step(/open it later/);
    await visitor.press('Continue');
    await visitor.step('Choose a password');
    assert.equal(await page.getByLabel('New password', { exact: true }).inputValue(), '');
    await visitor.press('Back');
    await visitor.step(/open it later/);
    await page.goBack();
    await visitor.step(/go\?$/);
    await visitor.press('Continue');
    await visitor.step(/open it later/);
    await visitor.press('Continue');
    await visitor.download(file('mia.bkv'), () => visitor.newPassword(PASSWORD));
    await visitor.step('1 file is backed up');
    await page.goBack();
    await visitor.step('Keep your files safe');
    assert.ok(!JSON.stringify(await page.evaluate(() => [history.state, location.href])).includes(PASSWORD));
    await visitor.begin('Restore');
    await visitor.step('Where is your backup?');
    await page.reload();
    await visitor.step('Keep your files safe');
    await visitor.begin('Restore');
    await page.goBack();
    await visitor.step('Keep your files safe');
    await page.goBack();
    assert.equal(page.url(), 'about:blank');
  }).timeout(90_000);

  it('has a policy that allows only its own scripts', async () => {
    const { headers } = await fetch(url);
    const policy = headers.get('content-security-policy') as string;
    assert.match(policy, /default-src 'none'; script-src 'self' 'wasm-unsafe-eval';/);
    assert.doesNotMatch(policy, /unsafe-inline|'unsafe-eval'|\*|https?:/);
    assert.equal(headers.get('cache-control'), 'no-store');
    assert.doesNotMatch(
      readFileSync('src/web/index.html', 'utf8'),
      /<script(?! type="module" src=)|<style|style=|\son\w+=/,
    );
  });

  for (const colorScheme of ['light', 'dark'] as const)
    for (const viewport of [{ width: 1280, height: 800 }, PHONE.viewport])
      it(`is accessible in each step, ${colorScheme}, at ${viewport.width} by ${viewport.height}`, async () => {
        const visitor = await visit('pia', { colorScheme, viewport, reducedMotion: 'reduce' });
        const steps = await visitor.page
          .locator('main > section')
          .evaluateAll((all) => all.map(({ id }) => id));
        assert.ok(steps.length > 15);
        for (const step of steps) {
          await visitor.page.evaluate((shown) => {
            for (const section of document.querySelectorAll<HTMLElement>('main > section')) {
              section.hidden = section.id !== shown;
              const alert = section.querySelector('[role=alert]');
              if (alert) alert.textContent = 'Something is wrong here.';
            }
          }, step);
          // axe's findings depend on the colours and not on the width, so one width for each scheme is enough.
          if ((colorScheme === 'light') === (viewport === PHONE.viewport)) await visitor.accessible();
          else await visitor.fits();
        }
      });

  it('can be used with the keyboard alone; the focus follows the steps', async () => {
    const visitor = await visit('quin');
    const { page } = visitor;
    const focused = () =>
      page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent || '');
    const tabTo = async (wanted: string) => {
      for (let i = 0; i < 12; i++) {
        await page.keyboard.press('Tab');
        if ((await focused()) === wanted) return;
      }
      assert.fail(`${wanted} is not reached with the Tab key`);
    };
    assert.equal(await focused(), 'home-title');
    await tabTo('account');
    await page.keyboard.press('ControlOrMeta+a');
    await page.keyboard.type('quin');
    await tabTo('Back up');
    await page.keyboard.press('Enter');
    assert.equal(await focused(), 'files-title');
    await tabTo('choose-files');
    await page.locator('#choose-files').setInputFiles(notes());
    await tabTo('Continue');
    await page.keyboard.press('Enter');
    assert.equal(await focused(), 'destination-title');
    await tabTo('Continue');
    await page.keyboard.press('Enter');
    await visitor.step(/open it later/);
    assert.equal(await focused(), 'opener-title');
    await page.keyboard.press('Tab');
    await page.keyboard.press('ArrowDown');
    await tabTo('Continue');
    await page.keyboard.press('Enter');
    await visitor.step('Your 64 digits');
    assert.equal(await focused(), 'digits-show-title');
    await tabTo('I have them');
    await page.keyboard.press('Enter');
    assert.equal(await focused(), 'digits-confirm-title');
    await tabTo('line');
    await page.keyboard.type('wrong');
    await page.keyboard.press('Enter');
    await visitor.alerted(/This is not line/);
    assert.equal(await focused(), 'line');
    assert.equal(await page.locator('#line').getAttribute('aria-invalid'), 'true');
    assert.match(await page.title(), /One line, to be sure/);
  });

  it('says what is wrong when it cannot be served', async () => {
    const { port } = new URL(url);
    await assert.rejects(servePage(port), new RegExp(`Port ${port} is taken`));
    await assert.rejects(servePage('many'), /BKV_WEB_PORT is not a port: "many"/);
  });
});

/** A film of a motionless QR code: YUV4MPEG2, grey. */
function film(text: string): Buffer {
  const [width, height, scale] = [640, 480, 8];
  const modules = encodeQR(text, 'raw', { border: 4 });
  const [left, top] = [(width - modules.length * scale) >> 1, (height - modules.length * scale) >> 1];
  const luma = Buffer.alloc(width * height, 160);
  modules.forEach((row, y) => {
    row.forEach((dark, x) => {
      for (let i = 0; i < scale; i++) {
        const at = (top + y * scale + i) * width + left + x * scale;
        luma.fill(dark ? 30 : 220, at, at + scale);
      }
    });
  });
  const frame = [Buffer.from('FRAME\n'), luma, Buffer.alloc((width * height) / 2, 128)];
  return Buffer.concat([
    Buffer.from(`YUV4MPEG2 W${width} H${height} F10:1 Ip A1:1 C420jpeg\n`),
    ...frame,
    ...frame,
  ]);
}
