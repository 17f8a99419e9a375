import assert from 'node:assert/strict';
import { type ChildProcess, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { randomStream, seed } from '../rig/random.js';
import { type Behaviour, pour, proxy, s3, webDav } from '../rig/servers.js';
import { snapshots } from '../src/backup/index.js';
import { ObjectError, openStorage, type Storage, StorageError } from '../src/storage/index.js';
import { ArchiveStorage } from '../src/web/storages.js';
import { MemoryStorage } from './support/memory.js';

const bytes = randomStream(seed);
const MOST = 5_000_000;

async function listed(storage: Storage, folder: string): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for await (const { name, size } of storage.list(folder)) found[name] = size;
  return found;
}

/** Checks the contract of every storage, which holds also when a request is repeated. */
async function keepsContract(storage: Storage): Promise<void> {
  assert.equal(await storage.read('none/here', MOST), undefined);
  assert.equal(await storage.size('none/here'), undefined);
  assert.deepEqual(await listed(storage, 'none'), {});
  await storage.delete('none/here');
  const contents: Record<string, Buffer> = {
    'top.json': bytes(10),
    'a/empty': Buffer.alloc(0),
    'a/bb/part': bytes(4_194_320),
    'a/cc/small': bytes(1),
  };
  await Promise.all(Object.entries(contents).map(([name, content]) => storage.write(name, content)));
  contents['a/cc/small'] = bytes(1000);
  await storage.write('a/cc/small', contents['a/cc/small']);
  await storage.flush();
  for (const [name, content] of Object.entries(contents)) {
    assert.equal(await storage.size(name), content.length, name);
    const read = (await storage.read(name, MOST, new Uint8Array(MOST))) as Uint8Array;
    assert.ok(content.equals(read), name);
  }
  // Threads hand over their data in shared memory.
  const shared = new Uint8Array(new SharedArrayBuffer(100)).fill(7);
  await storage.write('shared', shared);
  assert.deepEqual([...((await storage.read('shared', 100)) as Uint8Array)], [...shared]);
  await assert.rejects(storage.read('a/bb/part', 1000), ObjectError);
  const sizes = Object.fromEntries(Object.entries(contents).map(([name, { length }]) => [name, length]));
  assert.deepEqual(await listed(storage, ''), { ...sizes, shared: 100 });
  const { 'top.json': _, ...below } = sizes;
  assert.deepEqual(await listed(storage, 'a'), below);
  for await (const { written } of storage.list('')) assert.ok(Number.isFinite(written));
  await storage.delete('a/cc/small');
  await storage.delete('a/cc/small');
  assert.equal(await storage.size('a/cc/small'), undefined);
  assert.ok(!('a/cc/small' in (await listed(storage, ''))));
}

/** Applies a fault to the first request with each method and URL; repeated requests pass. */
const once = (fault: Behaviour): Behaviour => {
  const done = new Set<string>();
  return (incoming, outgoing, pass) => {
    const key = `${incoming.method} ${incoming.url}`;
    if (done.has(key)) return pass();
    done.add(key);
    fault(incoming, outgoing, pass);
  };
};
const answers =
  (status: number, headers: Record<string, string> = {}): Behaviour =>
  (incoming, outgoing) => {
    incoming.resume();
    incoming.once('end', () => outgoing.writeHead(status, headers).end());
  };
const FAULTS: Record<string, Behaviour> = {
  'fails with 503': answers(503, { 'retry-after': '1' }),
  'is refused as too many (429), locked (423) or too early (425)': (incoming, outgoing, pass) =>
    answers([429, 423, 425][(incoming.url?.length ?? 0) % 3] as number)(incoming, outgoing, pass),
  'is cut before it is heard': (incoming) => void incoming.socket.destroy(),
  'is done, and the answer is lost: it is done twice': (_incoming, _outgoing, pass) => pass({ lost: true }),
  'is cut in the middle of its answer': (_incoming, _outgoing, pass) => pass({ cutAfter: 5 }),
  'is slow': (_incoming, _outgoing, pass) => void setTimeout(pass, 300),
};

describe(`what every storage does (BKV_SEED=${seed})`, function () {
  this.timeout(180_000);
  const work = mkdtempSync(join(tmpdir(), 'bkv-contract-'));
  const children: ChildProcess[] = [];
  const proxies: Server[] = [];
  const ports = { dav: 0, s3: 0 };
  const variables: NodeJS.ProcessEnv = {
    BKV_WEBDAV_USER: 'alice',
    BKV_WEBDAV_PASSWORD: 'dav-password',
    AWS_ACCESS_KEY_ID: 'S3RVER',
    AWS_SECRET_ACCESS_KEY: 'S3RVER',
    AWS_ENDPOINT_URL: undefined,
    AWS_ENDPOINT_URL_S3: undefined,
    AWS_SESSION_TOKEN: undefined,
    AWS_REGION: undefined,
    AWS_DEFAULT_REGION: undefined,
  };
  const before_ = { ...process.env };
  const set = (values: NodeJS.ProcessEnv) => {
    for (const [name, value] of Object.entries(values))
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
  };
  before(async () => {
    set(variables);
    for (const folder of ['dav', 's3', 'remote']) mkdirSync(join(work, folder));
    const [dav, davPort] = await webDav(join(work, 'dav'), 'alice', 'dav-password');
    const [bucket, s3Port] = await s3(join(work, 's3'), ['bucket']);
    children.push(dav, bucket);
    Object.assign(ports, { dav: davPort, s3: s3Port });
  });
  after(() => {
    set({ ...Object.fromEntries(Object.keys(variables).map((name) => [name, undefined])), ...before_ });
    for (const child of children) child.kill();
    for (const each of proxies) each.close();
    rmSync(work, { recursive: true, force: true });
  });

  let count = 0;
  const dav = (port: number) => openStorage(`http://127.0.0.1:${port}/${count++}`);
  const bucket = (port: number) => {
    set({ AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}` });
    return openStorage(`s3://bucket/a prefix+${count++}`);
  };

  for (const [name, open] of Object.entries({
    'a folder': () => openStorage(join(work, 'folder')),
    WebDAV: () => dav(ports.dav),
    S3: () => bucket(ports.s3),
    rclone: () => openStorage(`rclone:${join(work, 'remote')}`),
    'the file of the page': async () => new ArchiveStorage(),
    'the memory of the tests': async () => new MemoryStorage(),
  }))
    it(`${name} keeps the contract`, async () => {
      const storage = await open();
      await keepsContract(storage);
      await storage.close();
    });

  describe(`when each request ${Object.keys(FAULTS).join(', or ')}`, () => {
    const kept = new Map<string, PromiseSettledResult<void>[]>();
    // All run at once, because they mostly wait.
    before(async () => {
      const works: [string, Promise<PromiseSettledResult<void>[]>][] = [];
      for (const [kind, open, port] of [
        ['WebDAV', dav, ports.dav],
        ['S3', bucket, ports.s3],
      ] as const) {
        const storages: Storage[] = [];
        for (const behaviour of Object.values(FAULTS)) {
          const { server, port: by } = await proxy(port, once(behaviour));
          proxies.push(server);
          storages.push(await open(by));
        }
        works.push([kind, Promise.allSettled(storages.map(keepsContract))]);
      }
      for (const [kind, work] of works) kept.set(kind, await work);
    });
    for (const kind of ['WebDAV', 'S3'])
      it(`${kind} keeps the contract`, () => {
        for (const [i, result] of (kept.get(kind) ?? []).entries())
          if (result.status === 'rejected') throw new Error(Object.keys(FAULTS)[i], { cause: result.reason });
        assert.equal(kept.get(kind)?.length, Object.keys(FAULTS).length);
      });
  });

  it('S3 lists more than a page, and every character of a key', async () => {
    const keys = ['p/a&amp;b', 'p/c', 'p/&#x4e2d;'];
    const made = createServer((incoming, outgoing) => {
      const query = new URL(incoming.url ?? '', 'http://x').searchParams;
      const at = Number(query.get('continuation-token')?.slice('next/+='.length) ?? 0);
      const next =
        at + 1 < keys.length ? `<NextContinuationToken>next/+=${at + 1}</NextContinuationToken>` : '';
      outgoing.end(
        `<ListBucketResult><IsTruncated>${next !== ''}</IsTruncated>${next}<Contents><Key>${keys[at]}</Key>` +
          '<LastModified>2026-01-02T03:04:05.000Z</LastModified><Size>5</Size></Contents></ListBucketResult>',
      );
    }).listen(0, '127.0.0.1');
    proxies.push(made);
    await new Promise((resolve) => made.once('listening', resolve));
    set({ AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${(made.address() as AddressInfo).port}` });
    const storage = await openStorage('s3://bucket/p');
    assert.deepEqual(await listed(storage, ''), { 'a&b': 5, 中: 5, c: 5 });
  });

  it('S3 takes the variables of the AWS tools', async () => {
    const seen: { headers: NodeJS.Dict<string | string[]>; url: string }[] = [];
    const made = createServer((incoming, outgoing) => {
      seen.push({ headers: incoming.headers, url: incoming.url ?? '' });
      outgoing.writeHead(404).end();
    }).listen(0, '127.0.0.1');
    proxies.push(made);
    await new Promise((resolve) => made.once('listening', resolve));
    const url = `http://127.0.0.1:${(made.address() as AddressInfo).port}`;
    set({
      AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
      AWS_ENDPOINT_URL_S3: url,
      AWS_SESSION_TOKEN: 'of a session',
    });
    set({ AWS_DEFAULT_REGION: 'eu-north-7' });
    await (await openStorage('s3://bucket/x')).size('a b+c');
    assert.equal(seen[0]?.headers['x-amz-security-token'], 'of a session');
    assert.match(String(seen[0]?.headers.authorization), /\/eu-north-7\/s3\/aws4_request/);
    assert.equal(seen[0]?.url, '/bucket/x/a%20b%2Bc');
    set({ AWS_REGION: 'us-west-9', AWS_SESSION_TOKEN: '' });
    await (await openStorage('s3://bucket')).size('a');
    assert.match(String(seen[1]?.headers.authorization), /us-west-9/);
    assert.equal(seen[1]?.headers['x-amz-security-token'], undefined);
    set({ ...variables });
  });

  it('says what to do about 413, 507 and others, at once', async () => {
    for (const [status, said] of [
      [413, /takes no file of 4 MB.*limit/],
      [507, /full; make room/],
      [403, /refuses/],
    ] as const) {
      const { server, port } = await proxy(ports.dav, answers(status));
      proxies.push(server);
      for (const storage of [await dav(port), await bucket(port)])
        await assert.rejects(storage.write('a', Buffer.of(1)), (error: Error) => {
          assert.ok(error instanceof StorageError && said.test(error.message), error.message);
          return true;
        });
    }
  });

  it('takes no write that was sent on to another address for a success, and says where to', async () => {
    for (const status of [301, 302, 303, 307]) {
      const { server, port } = await proxy(ports.dav, (incoming, outgoing) => {
        incoming.resume();
        if (incoming.url === '/login') return outgoing.writeHead(200).end();
        outgoing.writeHead(status, { location: '/login' }).end('<Message>a\x1b[2Jb</Message>');
      });
      proxies.push(server);
      for (const storage of [await dav(port), await bucket(port)])
        for (const change of [() => storage.write('a', Buffer.of(1)), () => storage.delete('a')])
          await assert.rejects(change(), (error: Error) => {
            assert.ok(error instanceof StorageError, String(error));
            assert.match(error.message, /belongs to another address, \/login; if that is your storage/);
            assert.doesNotMatch(error.message, /\p{Cc}/u);
            return true;
          });
    }
  });

  it('reads from where the server sends it on to', async () => {
    const { server, port } = await proxy(ports.dav, (incoming, outgoing) => {
      if (incoming.url === '/there') return outgoing.end('content');
      outgoing.writeHead(302, { location: '/there' }).end();
    });
    proxies.push(server);
    for (const storage of [await dav(port), await bucket(port)])
      assert.equal(Buffer.from((await storage.read('a', 100)) as Uint8Array).toString(), 'content');
  });

  it('WebDAV: a web page in the place of a list is refused at once', async () => {
    const { server, port } = await proxy(ports.dav, (_incoming, outgoing) =>
      outgoing.writeHead(200, { 'content-type': 'text/html' }).end('<html>Welcome to our WLAN</html>'),
    );
    proxies.push(server);
    await assert.rejects(listed(await dav(port), ''), /this is a web page.*asks you to sign in/);
  });

  it('S3: a list of millions of beginnings without an end takes no time', async () => {
    for (const inner of ['<Contents>'.repeat(700_000), `<Contents>${'<Key>'.repeat(1_400_000)}</Contents>`]) {
      const page = `<ListBucketResult>${inner}</ListBucketResult>`;
      const { server, port } = await proxy(ports.s3, (_incoming, outgoing) => void outgoing.end(page));
      proxies.push(server);
      await assert.rejects(listed(await bucket(port), ''), /out of order/);
    }
  });

  it('a folder: what is not a file is not read, and waited for by nobody', async () => {
    const folder = join(work, 'pipes');
    mkdirSync(folder);
    assert.equal(spawnSync('mkfifo', [join(folder, 'a')]).status, 0);
    const storage = await openStorage(folder);
    await assert.rejects(storage.read('a', 100), ObjectError);
    assert.deepEqual(await listed(storage, ''), {});
    await storage.flush();
  });

  it('S3: an answer that is not a list, or a list that is cut off, is refused', async () => {
    const list = (more: string) =>
      `<ListBucketResult><IsTruncated>true</IsTruncated>${more}</ListBucketResult>`;
    const token = '<NextContinuationToken>same</NextContinuationToken>';
    for (const [page, said] of [
      ['<html>Welcome to our WLAN</html>', /other than a list/],
      [list('').slice(0, -5), /other than a list/],
      [list(''), /how its list continues/],
      [list(token), /how its list continues/],
    ] as const) {
      const { server, port } = await proxy(ports.s3, (_incoming, outgoing) => void outgoing.end(page));
      proxies.push(server);
      const all = async (storage: Storage) => {
        for await (const _ of storage.list('snapshots'));
      };
      await assert.rejects(all(await bucket(port)), (error: Error) => {
        assert.ok(error instanceof StorageError && said.test(error.message), error.message);
        return true;
      });
    }
  });

  /** An S3 server that answers every list with a page of `page`, of which there are more. */
  async function endless(
    page: (number: number, prefix: string) => string,
  ): Promise<{ storage: Storage; asked: () => number }> {
    let pages = 0;
    const { server, port } = await proxy(ports.s3, (incoming, outgoing) => {
      const prefix = new URL(incoming.url as string, 'http://x').searchParams.get('prefix');
      if (prefix === null) return outgoing.writeHead(404).end();
      // The list ends after 20,000 pages, so that a client that reads all of it fails the test and does not hang.
      const more = pages < 20_000;
      outgoing.end(
        `<ListBucketResult><IsTruncated>${more}</IsTruncated>${page(pages, prefix)}` +
          `<NextContinuationToken>token-${pages++}</NextContinuationToken></ListBucketResult>`,
      );
    });
    proxies.push(server);
    return { storage: await bucket(port), asked: () => pages };
  }
  const content = (prefix: string, names: readonly string[]) =>
    names
      .map(
        (name) =>
          `<Contents><Key>${prefix}${name}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><Size>5</Size></Contents>`,
      )
      .join('');

  it('S3: a list that goes in circles, is out of order, or goes on without names is given up', async () => {
    for (const [page, most, said] of [
      [(_: number, prefix: string) => content(prefix, ['a', 'b']), 2, /out of order/],
      [(number: number, prefix: string) => content(prefix, [number % 2 ? 'a' : 'b']), 2, /out of order/],
      [(_: number, prefix: string) => content(prefix, ['b', 'a']), 1, /out of order/],
      [(_: number, prefix: string) => content(prefix, ['a'.repeat(1025)]), 1, /out of order/],
      [() => content('', ['a']), 1, /not what was asked for/],
      [() => '', 1001, /without a name/],
    ] as const) {
      const { storage, asked } = await endless(page);
      await assert.rejects(listed(storage, ''), (error: Error) => {
        assert.ok(error instanceof StorageError && said.test(error.message), error.message);
        return true;
      });
      assert.equal(asked(), most);
    }
  });

  it('S3: a list with fresh names without an end is given up', async () => {
    const hex = (number: number) => number.toString(16).padStart(32, '0');
    const { storage, asked } = await endless((number, prefix) =>
      content(
        prefix,
        Array.from({ length: 1000 }, (_, i) => hex(number * 1000 + i)),
      ),
    );
    const key = { kind: 'key', secret: new Uint8Array(32) } as const;
    await assert.rejects(snapshots(storage, key), /more than 10000 objects in epochs/);
    assert.ok(asked() < 30, `${asked()} pages`);
  });

  it('S3: of a page only its names stay in the memory', async () => {
    setFlagsFromString('--expose-gc');
    const gc: () => void = runInNewContext('gc');
    const { storage } = await endless((number, prefix) => {
      const padding = ' '.repeat(7_000_000);
      return number < 20 ? content(prefix, [`${100 + number}`.padEnd(64, '0')]) + padding : '';
    });
    const names: string[] = [];
    gc();
    const before = process.memoryUsage().heapUsed;
    for await (const { name } of storage.list('')) if (names.push(name) === 20) break;
    gc();
    const kept = process.memoryUsage().heapUsed - before;
    assert.equal(names.length, 20);
    assert.ok(kept < 30_000_000, `${kept} bytes`);
  });

  it('WebDAV: folders without an end, many or deep, are given up', async () => {
    const response = (path: string) =>
      `<d:response><d:href>${path}/</d:href><d:propstat><d:prop><d:resourcetype><d:collection/></d:resourcetype>` +
      '<d:getlastmodified>Fri, 02 Jan 2026 03:04:05 GMT</d:getlastmodified></d:prop>' +
      '<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>';
    for (const [width, most, said] of [
      [1000, 50, /more folders than a backup has/],
      [1, 600, /a name of more than 1024 characters/],
    ] as const) {
      let asked = 0;
      const { server, port } = await proxy(ports.dav, (incoming, outgoing) => {
        const path = incoming.url?.replace(/\/$/, '') as string;
        // The folders end, so that a client that asks for all of them fails the test and does not hang.
        const below = asked++ < most ? Array.from({ length: width }, (_, i) => `${path}/${i}`) : [];
        outgoing.writeHead(207, { 'content-type': 'application/xml' });
        const responses = [path, ...below].map(response).join('');
        outgoing.end(`<d:multistatus xmlns:d="DAV:">${responses}</d:multistatus>`);
      });
      proxies.push(server);
      await assert.rejects(listed(await dav(port), 'parts'), said);
    }
  });

  it('an endless answer to any request is given up', async () => {
    let sent = 0;
    const { server, port } = await proxy(ports.dav, (incoming, outgoing) => {
      incoming.resume();
      outgoing.writeHead(incoming.method === 'PROPFIND' ? 207 : 200);
      pour(outgoing, (bytes) => {
        sent += bytes;
      });
    });
    proxies.push(server);
    for (const storage of [await dav(port), await bucket(port)])
      for (const [asked, ask] of Object.entries({
        read: () => storage.read('x', 1_000_000),
        list: () => listed(storage, 'parts'),
        delete: () => storage.delete('x'),
        write: () => storage.write('x', Buffer.of(1)),
        ...(storage.parallel === 8 && { size: () => storage.size('x') }),
      })) {
        sent = 0;
        await assert.rejects(ask(), ObjectError, asked);
        assert.ok(sent < 100_000_000, `${asked}: ${sent} bytes were taken`);
      }
    server.closeAllConnections();
  });
});
