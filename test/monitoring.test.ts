import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parse } from 'yaml';
import { Daemon } from '../rig/daemon.js';
import { makeCertificate } from './support/certificates.js';
import { withoutTls } from './support/proxy.js';

const DASHBOARD = 'monitoring/grafana/dashboards/backup-key-vault.json';

interface Panel {
  title: string;
  type: string;
  description?: string;
  datasource?: { uid: string };
  fieldConfig?: { defaults: { unit?: string; thresholds?: { steps: unknown[] } } };
  options?: { content?: string };
  targets?: { expr: string }[];
}

interface Rules {
  groups: { rules: { alert?: string; labels: { severity: string }; annotations: { action: string } }[] }[];
}

const alerts = ['rules.yml', 'rules-fleet.yml'].flatMap((name) =>
  (parse(readFileSync(join('monitoring', name), 'utf8')) as Rules).groups.flatMap(({ rules }) =>
    rules.filter(({ alert }) => alert !== undefined),
  ),
);

describe('monitoring', () => {
  it('promtool accepts rules and configuration, and they alert when they should', () => {
    for (const args of [
      ['check', 'config', 'prometheus.yml'],
      ['check', 'rules', 'rules.yml', 'rules-fleet.yml'],
      ['test', 'rules', 'rules.test.yml'],
    ])
      execFileSync('promtool', args, { cwd: 'monitoring', stdio: 'pipe' });
  });

  it('every alert is tested', () => {
    const tests = parse(readFileSync('monitoring/rules.test.yml', 'utf8')) as {
      tests: { alert_rule_test: { alertname: string; exp_alerts: unknown[] }[] }[];
    };
    const fired = tests.tests.flatMap(({ alert_rule_test }) =>
      alert_rule_test.filter(({ exp_alerts }) => exp_alerts.length > 0).map(({ alertname }) => alertname),
    );
    assert.deepEqual(
      alerts.map(({ alert }) => alert as string).filter((alert) => !fired.includes(alert)),
      [],
    );
  });

  it('the dashboard explains each panel, and says what to do about each alert', () => {
    const { panels } = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as { panels: Panel[] };
    const shown = panels.filter(({ type }) => type !== 'row');
    for (const { title, type, description, datasource, fieldConfig } of shown) {
      assert.ok(description, `${title} has no description`);
      if (type === 'text') continue;
      assert.equal(datasource?.uid, '$' + '{datasource}', title);
      assert.ok(fieldConfig?.defaults.unit, `${title} has no unit`);
      if (type === 'stat') assert.ok((fieldConfig.defaults.thresholds?.steps.length ?? 0) > 1, title);
    }
    const told = alerts.map(
      ({ alert, labels, annotations }) => `| ${alert} | ${labels.severity} | ${annotations.action} |`,
    );
    const content = shown.find(({ type }) => type === 'text')?.options?.content;
    assert.equal(content, ['| alert | severity | what to do |', '|---|---|---|', ...told].join('\n'));
  });

  describe('a real Prometheus that scraped a loaded daemon', () => {
    const work = mkdtempSync(join(tmpdir(), 'bkv-prometheus-'));
    let daemon: Daemon;
    let relay: Server;
    let prometheus: ChildProcess;
    let url: string;
    const query = async (expression: string): Promise<unknown[]> => {
      const response = await fetch(`${url}/api/v1/query?query=${encodeURIComponent(expression)}`);
      const body = (await response.json()) as { status: string; error?: string; data: { result: unknown[] } };
      assert.equal(body.status, 'success', `${expression}: ${body.error}`);
      return body.data.result;
    };

    before(async function () {
      this.timeout(120_000);
      const data = join(work, 'daemon');
      mkdirSync(data);
      makeCertificate({ name: 'vault', cert: join(data, 'cert.pem'), key: join(data, 'key.pem') });
      daemon = await Daemon.start(data, {
        config:
          'tls: { cert: cert.pem, key: key.pem }\nmaxAttempts: 3\nexchangeSeconds: 1\nrateLimit: { account: 20, address: 100000 }\n',
      });
      const plain = await withoutTls(daemon.url);
      relay = plain.relay;
      daemon.url = plain.url;
      const target = new URL(daemon.admin).host;
      const config = readFileSync('monitoring/prometheus.yml', 'utf8')
        .replaceAll('15s', '500ms')
        .replace('vault:8201', target)
        .replace('rules.yml', resolve('monitoring/rules.yml'));
      writeFileSync(join(work, 'prometheus.yml'), config);
      const port = 20_000 + (process.pid % 20_000);
      url = `http://127.0.0.1:${port}`;
      prometheus = spawn(
        'prometheus',
        [
          `--config.file=${join(work, 'prometheus.yml')}`,
          `--storage.tsdb.path=${join(work, 'tsdb')}`,
          `--web.listen-address=127.0.0.1:${port}`,
        ],
        { stdio: 'ignore' },
      );
      // Everything that happens on a normal day: registrations, recoveries, wrong passwords, lockouts, refusals, a sweep.
      const end = Date.now() + 7_000;
      for (let i = 0; Date.now() < end; i++) {
        const account = `user-${i}`;
        await daemon.register(account, 'right');
        await (await daemon.startRecovery(account, 'right')).prove();
        await (await daemon.startRecovery(account, 'wrong')).prove().catch(() => undefined);
        if (i % 5 === 0) {
          for (let guess = 0; guess < 3; guess++) await daemon.startRecovery(`victim-${i}`, 'wrong');
          await daemon.fetch(undefined, 'GET', '/v1/account');
          await daemon.shred();
        }
        await setTimeout(50);
      }
      for (let i = 0; i < 20; i++) {
        const up = await query('sum_over_time(up{job="bkv"}[30s]) > 10').catch(() => []);
        if (up.length > 0) break;
        await setTimeout(500);
      }
    });
    after(async () => {
      prometheus.kill();
      relay.close();
      await daemon.stop();
      rmSync(work, { recursive: true, force: true });
    });

    it('has data for every query of every panel', async () => {
      const { panels } = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as { panels: Panel[] };
      const empty: string[] = [];
      let count = 0;
      for (const { title, targets = [] } of panels)
        for (const { expr } of targets) {
          count++;
          const asked = expr.replaceAll('$__rate_interval', '10s').replaceAll('$instance', '.*');
          if ((await query(asked)).length === 0) empty.push(`${title}: ${expr}`);
        }
      assert.deepEqual(empty, []);
      assert.ok(count > 25);
    });

    it('takes the queries of its annotations', async () => {
      const { annotations } = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as {
        annotations: { list: { expr: string }[] };
      };
      for (const { expr } of annotations.list) await query(expr.replaceAll('$instance', '.*'));
      assert.equal(annotations.list.length, 2);
    });

    it('has data for every recording rule, and no alert fires', async () => {
      for (const record of [
        'bkv:attempts_failed:rate10m',
        'bkv:attempts:rate10m',
        'bkv:token_seconds:p99_5m',
      ])
        assert.ok((await query(record)).length > 0, record);
      assert.deepEqual(await query('ALERTS{alertstate="firing"}'), []);
    });

    it('knows every metric that rules and panels name', async () => {
      const exposed = await (await fetch(new URL('/metrics', daemon.admin))).text();
      const names = new Set(
        [...exposed.matchAll(/^# TYPE (\w+) (\w+)/gm)].flatMap(([, name, type]) =>
          type === 'histogram' ? [`${name}_count`, `${name}_sum`, `${name}_bucket`] : [name],
        ),
      );
      const named = ['rules.yml', 'rules-fleet.yml']
        .map((name) => readFileSync(join('monitoring', name), 'utf8'))
        .concat(readFileSync(DASHBOARD, 'utf8'))
        .flatMap((text) => [...text.matchAll(/\bbkv_\w+/g)].map(([name]) => name));
      assert.deepEqual(
        [...new Set(named)].filter((name) => !names.has(name)),
        [],
      );
    });
  });
});
