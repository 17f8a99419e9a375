import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { newBackupKey, VaultClient, type WrongPassword } from '../../src/client/index.js';

const NAMES = ['password', 'postgres', 'vault', 'prometheus'];

/** Tests `softhsm/compose.yaml` in a real Docker engine (`npm run test:containers`), in a compose project of its own. */
describe('the vault in containers', function () {
  this.timeout(900_000);
  const work = mkdtempSync(join(tmpdir(), 'bkv-containers-'));
  const project = `bkv-test-${process.pid}`;
  const files = ['softhsm/compose.yaml', join(work, 'ports.yaml')];
  const run = (...args: string[]): string =>
    execFileSync('docker', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
  const compose = (...args: string[]): string =>
    run('compose', '--project-name', project, ...files.flatMap((file) => ['-f', file]), ...args);
  const inspect = (service: string, format: string): string =>
    run('inspect', '--format', format, compose('ps', '--all', '--quiet', service));
  /** What the vault has printed. `docker compose logs` would add a terminal's escape codes. */
  const logs = (): string => {
    const { stdout, stderr } = spawnSync('docker', ['logs', compose('ps', '--all', '--quiet', 'vault')], {
      encoding: 'utf8',
    });
    return stdout + stderr;
  };
  const health = (): string => inspect('vault', '{{.State.Health.Status}}');
  const until = async (what: string, holds: () => boolean | Promise<boolean>): Promise<void> => {
    for (let i = 0; i < 120; i++) {
      if (await holds()) return;
      await setTimeout(500);
    }
    assert.fail(`${what}: not within a minute. ${logs().slice(-2000)}`);
  };
  const address = (service: string, port: number) => `http://${compose('port', service, String(port))}`;
  const client = (account: string): VaultClient => {
    const { serverPublicKey } = JSON.parse(
      logs()
        .split('\n')
        .find((line) => line.includes('"serving"')) as string,
    );
    return new VaultClient({
      url: address('vault', 8200),
      serverPublicKey: Buffer.from(serverPublicKey, 'base64url'),
      account,
      accessToken: () =>
        compose('exec', '-T', 'vault', 'bkv', 'jwt', '--data', '/data', '--account', account),
    });
  };
  const hostPid = (program: RegExp): number => {
    const line = compose('top', 'vault')
      .split('\n')
      .find((text) => program.test(text)) as string;
    return Number(line.trim().split(/\s+/)[1]);
  };

  before(() => {
    const engine = spawnSync('docker', ['compose', 'version'], { encoding: 'utf8' });
    assert.equal(
      engine.status,
      0,
      'this needs a Docker engine and its compose plugin: https://docs.docker.com',
    );
    const made = execFileSync('bash', ['test/containers/images.sh'], { encoding: 'utf8' }).trim().split('\n');
    console.log(`      made here, for lack of a registry of images: ${made.join(', ') || 'none'}`);
    writeFileSync(
      join(work, 'ports.yaml'),
      `services:
  vault: { ports: !override ["127.0.0.1::8200"] }
  prometheus: { ports: !override ["127.0.0.1::9090"] }
`,
    );
    compose('build');
    compose('up', '--detach', ...NAMES);
  });
  after(() => {
    spawnSync('docker', [
      'compose',
      '--project-name',
      project,
      ...files.flatMap((file) => ['-f', file]),
      'down',
      '--volumes',
      '--timeout',
      '5',
    ]);
    rmSync(work, { recursive: true, force: true });
  });

  const key = newBackupKey();

  it('comes up healthy, and keeps a key', async () => {
    await until('healthy', () => health() === 'healthy');
    await client('alice').register('correct horse battery staple', key);
    await assert.rejects(
      client('alice').recover('wrong'),
      (error: WrongPassword) => error.attemptsRemaining === 9,
    );
  });

  it('runs as its own user, without capabilities, on a read-only root', () => {
    const status = compose('exec', '-T', 'vault', 'cat', '/proc/1/status');
    assert.match(status, /^Uid:\s+10001\s+10001\s+10001\s+10001$/m);
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      assert.match(status, new RegExp(`^${set}:\\s+0{16}$`, 'm'));
    assert.match(status, /^NoNewPrivs:\s+1$/m);
    assert.match(compose('exec', '-T', 'vault', 'cat', '/proc/1/limits'), /^Max core file size\s+0\s+0\s/m);
    assert.throws(() => compose('exec', '-T', 'vault', 'touch', '/app/here'), /[Rr]ead-only file system/);
  });

  it('shows its admin address to Prometheus, and to nobody outside', async () => {
    assert.throws(() => compose('port', 'vault', '8201'));
    const query = async (expression: string) => {
      const response = await fetch(
        `${address('prometheus', 9090)}/api/v1/query?query=${encodeURIComponent(expression)}`,
      );
      const body = (await response.json()) as { data: { result: { value: [number, string] }[] } };
      return body.data.result[0]?.value[1];
    };
    await until('scraped', async () => (await query('up{job="bkv"}')) === '1');
    assert.equal(await query('bkv_on_duty'), '1');
  });

  it('goes on with its counters when the keeper is killed', async () => {
    const restarts = Number(inspect('vault', '{{.RestartCount}}'));
    process.kill(hostPid(/main\.js keeper/), 'SIGKILL');
    await until('started again', () => Number(inspect('vault', '{{.RestartCount}}')) > restarts);
    await until('healthy again', () => health() === 'healthy');
    await assert.rejects(
      client('alice').recover('wrong'),
      (error: WrongPassword) => error.attemptsRemaining === 8,
    );
  });

  it('ends by itself at SIGTERM, and goes on from there when it is started again', async () => {
    compose('stop', '--timeout', '30', 'vault');
    assert.equal(inspect('vault', '{{.State.ExitCode}}'), '0');
    compose('start', 'vault');
    await until('healthy again', () => health() === 'healthy');
    assert.deepEqual((await client('alice').recover('correct horse battery staple')).backupKey, key);
  });

  it('survives a restart of its database', async () => {
    compose('restart', 'postgres');
    await until('it recovers', () =>
      client('alice')
        .recover('correct horse battery staple')
        .then(
          () => true,
          () => false,
        ),
    );
  });

  it('is shown by Grafana, if its image can be pulled', async function () {
    if (spawnSync('docker', ['pull', '--quiet', 'grafana/grafana:12.1.0']).status !== 0) {
      console.log('      not run: the image of Grafana cannot be had here');
      return this.skip();
    }
    compose('up', '--detach', 'grafana');
    await until('Grafana has the dashboard', async () => {
      const response = await fetch(`${address('grafana', 3000)}/api/search?type=dash-db`).catch(
        () => undefined,
      );
      return ((await response?.json()) as unknown[] | undefined)?.length === 1;
    });
  });
});
