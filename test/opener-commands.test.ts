import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

describe('bkv opener', () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-openers-'));
  const at = (...names: string[]) => join(work, ...names);
  after(() => rmSync(work, { recursive: true, force: true }));
  const bkv = (args: string[], input = '', extra: NodeJS.ProcessEnv = {}) =>
    spawnSync(process.execPath, ['dist/src/cli/main.js', ...args], {
      input,
      encoding: 'utf8',
      env: { ...process.env, XDG_STATE_HOME: at('state'), ...extra },
    });
  const ok = (args: string[], input = ''): string => {
    const { status, stdout, stderr } = bkv(args, input);
    assert.equal(status, 0, stderr);
    return stdout;
  };

  it('adds digits and contacts, which open the backup; removes one, and keeps the last', () => {
    mkdirSync(at('source'));
    writeFileSync(at('source', 'a'), 'hello');
    ok(['key', 'new', '--out', at('key')]);
    const [cloud, key] = [at('cloud'), ['--key-file', at('key')]];
    ok(['backup', at('source'), cloud, ...key]);
    const listed = bkv(['opener', 'list', cloud, ...key]);
    assert.match(
      listed.stdout,
      /^[0-9a-f]{16} {2}key {2}added 20\d\d-\d\d-\d\d, last used on this device: 20/,
    );
    assert.match(listed.stderr, /Only one thing opens this backup/);

    ok(['opener', 'add', 'digits', cloud, ...key, '--out', at('digits'), '--label', 'in the safe']);
    const people = ['--name', 'Ann', '--name', '../Ben <b>', '--name', 'Çem'];
    ok(['opener', 'add', 'contacts', cloud, ...key, ...people, '--out', at('pieces')]);
    const files = readdirSync(at('pieces')).sort();
    assert.deepEqual(files, ['piece-1-Ann.html', 'piece-2-Ben-b.html', 'piece-3-Çem.html']);
    const sheets = files.map((name) => readFileSync(at('pieces', name), 'utf8'));
    assert.ok(sheets.every((sheet) => sheet.includes('<svg') && !sheet.includes('<b>')));
    assert.ok(files.every((name) => (statSync(at('pieces', name)).mode & 0o077) === 0));
    const pieces = [
      '--piece-file',
      at('pieces', files[0] as string),
      '--piece-file',
      at('pieces', files[2] as string),
    ];
    ok(['restore', cloud, at('by-contacts'), ...pieces]);
    const typed = sheets.slice(1).map((sheet) => /<pre>([^<]+)/.exec(sheet)?.[1]);
    ok(['restore', cloud, at('by-typed'), '--pieces'], `${typed.join('\n')}\n`);
    ok(['restore', cloud, at('by-digits'), '--key-file', at('digits')]);
    for (const place of ['by-contacts', 'by-typed', 'by-digits'])
      assert.equal(readFileSync(at(place, 'a'), 'utf8'), 'hello');

    assert.match(bkv(['opener', 'remove', cloud, 'in the safe', ...key]).stderr, /use --yes/);
    ok(['opener', 'remove', cloud, 'in the safe', ...key, '--yes']);
    const removed = bkv(['backup', at('source'), cloud, '--key-file', at('digits')]);
    assert.equal(removed.status, 1);
    assert.match(removed.stderr, /nothing was written/);
    ok(['key', 'rotate', cloud, ...pieces]);
    const id = ok(['opener', 'list', cloud, ...key]).slice(0, 16);
    ok(['opener', 'remove', cloud, id, ...pieces, '--yes']);
    assert.match(
      bkv(['opener', 'remove', cloud, 'Ann, ../Ben <b>, Çem', ...pieces, '--yes']).stderr,
      /last opener/,
    );
    ok(['backup', at('source'), cloud, ...pieces, '--force']);
  }).timeout(60_000);

  it('reports for programs with --json: one object, and the exit code is the same', () => {
    mkdirSync(at('told'));
    writeFileSync(at('told', 'a'), 'hello');
    const [cloud, key] = [at('told-cloud'), ['--key-file', at('told-key'), '--json']];
    ok(['key', 'new', '--out', at('told-key')]);
    const json = (...args: string[]) => JSON.parse(ok([...args, ...key])) as Record<string, unknown>;
    assert.deepEqual(json('backup', at('told'), cloud), {
      files: 1,
      bytes: 5,
      changed: 1,
      skipped: [],
      leftOut: [],
    });
    const { snapshots, ...lost } = json('snapshots', cloud) as {
      snapshots: { created: string; name: string }[];
    };
    assert.deepEqual(lost, { damaged: [], locked: [] });
    assert.match(snapshots[0]?.created as string, /^20\d\d-\d\d-\d\dT.*Z$/);
    assert.ok(!('list' in (snapshots[0] as object)));
    const { openers } = json('opener', 'list', cloud) as { openers: { id: string; lastUsed: string }[] };
    assert.deepEqual([openers.length, /^[0-9a-f]{16}$/.test(openers[0]?.id as string)], [1, true]);
    assert.match(openers[0]?.lastUsed as string, /Z$/);
    const sound = json('verify', cloud);
    assert.deepEqual([sound.snapshots, sound.damaged, sound.deleted, sound.healed], [1, [], 0, []]);
    const restored = { files: 1, bytes: 5, damaged: [], notes: [], leftOut: 0 };
    assert.deepEqual(json('restore', cloud, at('told-again')), restored);
    assert.deepEqual(json('prune', cloud, '--keep', '1'), { snapshots: 0, parts: 0, marked: 0, damaged: [] });

    rmSync(join(cloud, 'parts'), { recursive: true });
    const { status, stdout } = bkv(['verify', cloud, ...key]);
    const { damaged } = JSON.parse(stdout) as { damaged: { path: string; reason: string }[] };
    assert.deepEqual([status, typeof damaged[0]?.reason], [1, 'string']);
    rmSync(join(cloud, 'snapshots'), { recursive: true });
    const empty = bkv(['verify', cloud, ...key]);
    assert.deepEqual([empty.status, JSON.parse(empty.stdout).snapshots], [1, 0], 'nothing can be restored');
    const failed = bkv(['snapshots', at('no-cloud'), ...key]);
    assert.deepEqual([failed.status, failed.stdout], [1, '']);
  }).timeout(60_000);

  it('says what is wrong, and then changes nothing', () => {
    const { stderr, status } = bkv(['opener', 'add', 'digits', at('cloud'), '--piece-file', at('nothing')]);
    assert.deepEqual([status, /nothing: cannot be read/.test(stderr)], [2, true]);
    mkdirSync(at('other'));
    writeFileSync(at('other', 'a'), 'hello');
    ok(['backup', at('other'), at('other-cloud'), '--key-file', at('key')]);
    const add = (...args: string[]) => bkv(['opener', 'add', ...args, '--key-file', at('key')]);
    assert.match(add('face', at('other-cloud')).stderr, /"face" does not open backups/);
    assert.match(add('contacts', at('other-cloud'), '--name', 'Ann').stderr, /two or more/);
    const many = ['--name', 'Ann', '--name', 'Ben', '--out', at('none')];
    assert.match(
      add('contacts', at('other-cloud'), ...many, '--needed', '3').stderr,
      /no more than there are/,
    );
    assert.ok(!readdirSync(work).includes('none'));
  }).timeout(60_000);

  it('opens the page that adds a passkey, and prints its address for somebody without a browser here', async () => {
    mkdirSync(at('bin'));
    writeFileSync(
      at('bin', 'xdg-open'),
      `#!/bin/sh\nprintf '%s\\n' "$@" "token: $BKV_ACCESS_TOKEN" > "${at('opened')}"\n`,
      {
        mode: 0o755,
      },
    );
    const backup = at('for-a-passkey');
    mkdirSync(at('kept'));
    writeFileSync(at('kept', 'a'), 'hello');
    ok(['backup', at('kept'), backup, '--key-file', at('key')]);
    const add = (page: string[], desktop = {}) =>
      bkv(['opener', 'add', 'passkey', backup, ...page], '', {
        PATH: `${at('bin')}:${process.env.PATH}`,
        DISPLAY: '',
        WAYLAND_DISPLAY: '',
        BKV_ACCESS_TOKEN: 'secret',
        ...desktop,
      });
    const page = ['--page', 'https://app.example/backup'];
    const told = add(page);
    assert.equal(told.status, 0, told.stderr);
    assert.match(told.stderr, /Open https:\/\/app\.example\/backup\n.*for-a-passkey/);
    assert.ok(!existsSync(at('opened')), 'there is no desktop');
    if (process.platform === 'linux') {
      assert.equal(add(page, { DISPLAY: ':0' }).status, 0);
      while (!existsSync(at('opened')) || readFileSync(at('opened'), 'utf8') === '') await setTimeout(20);
      assert.equal(readFileSync(at('opened'), 'utf8'), 'https://app.example/backup\ntoken: \n');
    }
    assert.equal(add(page, { DISPLAY: ':0', PATH: at('bin', 'none') }).status, 0, 'nothing opens it');
    assert.equal(add([], { BKV_PAGE: 'http://localhost:8300' }).status, 0);
    for (const [wrong, why] of [
      ['', /name it with --page/],
      ['http://app.example', /must begin with https:/],
      ['file:///etc/passwd', /must begin with https:/],
      ['--gtk', /not the address of a page/],
    ] as const) {
      const { status, stderr } = add(wrong ? [`--page=${wrong}`] : [], { DISPLAY: ':0' });
      assert.deepEqual([status, why.test(stderr)], [2, true], stderr);
    }
    const nowhere = bkv(['opener', 'add', 'passkey', at('kept'), ...page]);
    assert.deepEqual([nowhere.status, /is not a backup/.test(nowhere.stderr)], [2, true]);
  }).timeout(60_000);
});
