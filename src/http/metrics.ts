import cluster from 'node:cluster';
import { AggregatorRegistry, Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { CodedError } from '../protocol/terms.js';
import { mergePages } from './page.js';

/** What the HTTP side tells Prometheus. Label values are closed sets; no account, address or secret among them. */
export const registry = new Registry();
// In a worker this answers the primary, which adds up the workers' samples.
AggregatorRegistry.setRegistries(registry);
const workers = new AggregatorRegistry();

/**
 * Measures what this process uses of the machine. @param name distinguishes its samples from other processes'
 */
export const measureProcess = (name: string): void =>
  collectDefaultMetrics({ register: registry, prefix: 'bkv_', labels: { process: name } });

/** A page of this process and, added up, of its workers. @throws CodedError unavailable while one is being started */
export async function metricsPage(): Promise<string> {
  const theirs = await workers.clusterMetrics().catch(() => {
    throw new CodedError('unavailable', 'an HTTP worker is being started; ask again', { retryAfter: 1 });
  });
  return mergePages([theirs, await registry.metrics()]);
}

const registers = cluster.isPrimary ? [] : [registry];
const SECONDS = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];

export const httpRequests = new Histogram({
  name: 'bkv_http_request_duration_seconds',
  help: 'Duration of an HTTP request by operation and status code; operation is `none` for a path that the API does not have.',
  labelNames: ['operation', 'status'],
  buckets: SECONDS,
  registers,
});

export const vaultOperations = new Counter({
  name: 'bkv_vault_operations_total',
  help: "Requests by operation (`none`: a path that the API does not have) and outcome: `ok`, or the problem's name. `rate-limited` counts what the limits refused.",
  labelNames: ['operation', 'outcome'],
  registers,
});

export const certificateEnd = new Gauge({
  name: 'bkv_tls_certificate_not_after_seconds',
  help: 'When the certificate that the API serves, or the CA that it asks of clients, ends: seconds since 1970, the earliest of a file with several and of all HTTP workers; without TLS there is no sample.',
  labelNames: ['certificate'],
  aggregator: 'min',
  registers,
});

/** Metrics of the API, for the reference. */
export const apiMetrics = [httpRequests, vaultOperations, certificateEnd];
