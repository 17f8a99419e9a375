import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import {
  apiMetrics,
  certificateEnd,
  httpRequests,
  measureProcess,
  registry,
  vaultOperations,
} from '../../src/http/metrics.js';
import { readMetrics } from '../../src/http/metrics-socket.js';
import { mergePages, ofHttp } from '../../src/http/page.js';

const samplesOf = (page: string): string[] =>
  page.split('\n').filter((line) => line && !line.startsWith('#'));

describe('the metrics of a process that faces clients', () => {
  it('are all on the vault’s page', async () => {
    measureProcess('http-worker-1');
    httpRequests.observe({ operation: 'status', status: 200 }, 0.1);
    vaultOperations.inc({ operation: 'status', outcome: 'ok' });
    certificateEnd.set({ certificate: 'client CA' }, 1_800_000_000);
    const requests = new Registry();
    for (const metric of apiMetrics) requests.registerMetric(metric as never);
    const page = mergePages([await registry.metrics(), await requests.metrics()]);
    assert.ok(samplesOf(page).length > 40);
    assert.deepEqual(samplesOf(ofHttp(page)), samplesOf(page));
  });

  it('are those of requests and of the process itself; it cannot forge the keeper’s', () => {
    const keepers = '# TYPE bkv_lockouts_total counter\nbkv_lockouts_total 3\n';
    const good = [
      'bkv_http_request_duration_seconds_count{operation="status",status="200"} 1',
      'bkv_process_resident_memory_bytes{process="http"} 1',
    ];
    const forged = [
      '# TYPE bkv_lockouts_total gauge',
      'bkv_lockouts_total 0',
      'bkv_lockouts_total{process="http"} -3',
      'bkv_attempts_total{end="failed"} -3',
      'bkv_process_resident_memory_bytes{process="keeper"} 1',
      'bkv_process_resident_memory_bytes{process="keeper"} 1 {process="http"} 1',
      'bkv_tampered_records_total{xprocess="http"} 0',
      'other{process="http"} 1',
      'bkv_process_resident_memory_bytes{process="http"} 1 1700000000000',
      '{{{',
    ];
    const page = mergePages([keepers, ofHttp([...forged, ...good].join('\n'))]);
    assert.deepEqual(samplesOf(page), ['bkv_lockouts_total 3', ...good]);
  });

  /** Reads the metrics of a process that answers whatever it likes. */
  const readFrom = async (answer: RequestListener): Promise<string> => {
    const folder = mkdtempSync(join(tmpdir(), 'bkv-page-'));
    const path = join(folder, 'metrics.sock');
    const server = createServer(answer);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    try {
      return await readMetrics(path);
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(folder, { recursive: true });
    }
  };

  it('are refused if they are endless', async () => {
    const endless = readFrom((_request, response) => {
      const more = (): unknown => response.write('#\n'.repeat(2 ** 19)) && setImmediate(more);
      response.on('drain', more);
      more();
    });
    await assert.rejects(endless, { code: 'unavailable' });
  });

  it('are refused if they are of another protocol', async () => {
    const other = readFrom((_request, response) => {
      response.socket?.end('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n');
    });
    await assert.rejects(other, { code: 'unavailable' });
  });
});
