import { readdirSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const delay = monitorEventLoopDelay({ resolution: 10 });
delay.enable();

const round = (n: number): number => Math.round(n * 1e6) / 1e6;

/** This process's samples, under the names that prom-client gives them: name, kind, help, value. */
function samples(): [string, 'counter' | 'gauge', string, number][] {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed, heapTotal, external } = process.memoryUsage();
  return [
    ['process_cpu_user_seconds_total', 'counter', 'Total user CPU time spent in seconds.', user / 1e6],
    ['process_cpu_system_seconds_total', 'counter', 'Total system CPU time spent in seconds.', system / 1e6],
    [
      'process_cpu_seconds_total',
      'counter',
      'Total user and system CPU time spent in seconds.',
      (user + system) / 1e6,
    ],
    [
      'process_start_time_seconds',
      'gauge',
      'Start time of the process since unix epoch in seconds.',
      Math.floor(Date.now() / 1000 - process.uptime()),
    ],
    ['process_resident_memory_bytes', 'gauge', 'Resident memory size in bytes.', rss],
    [
      'process_open_fds',
      'gauge',
      'Number of open file descriptors.',
      readdirSync('/proc/self/fd').length - 1,
    ],
    ['nodejs_heap_size_total_bytes', 'gauge', 'Process heap size from Node.js in bytes.', heapTotal],
    ['nodejs_heap_size_used_bytes', 'gauge', 'Process heap size used from Node.js in bytes.', heapUsed],
    ['nodejs_external_memory_bytes', 'gauge', 'Node.js external memory size in bytes.', external],
    [
      'nodejs_eventloop_lag_mean_seconds',
      'gauge',
      'The mean of the recorded event loop delays.',
      round(delay.mean / 1e9),
    ],
    [
      'nodejs_eventloop_lag_p50_seconds',
      'gauge',
      'The 50th percentile of the recorded event loop delays.',
      round(delay.percentile(50) / 1e9),
    ],
    [
      'nodejs_eventloop_lag_p90_seconds',
      'gauge',
      'The 90th percentile of the recorded event loop delays.',
      round(delay.percentile(90) / 1e9),
    ],
    [
      'nodejs_eventloop_lag_p99_seconds',
      'gauge',
      'The 99th percentile of the recorded event loop delays.',
      round(delay.percentile(99) / 1e9),
    ],
    [
      'nodejs_eventloop_lag_max_seconds',
      'gauge',
      'The maximum recorded event loop delay.',
      round(delay.max / 1e9),
    ],
  ];
}

/** This process's own samples. Delays are those since the last time. */
export function renderProcess(process: string): string {
  const text = samples()
    .map(([name, type, help, value]) => {
      const full = `bkv_${name}`;
      return `# HELP ${full} ${help}\n# TYPE ${full} ${type}\n${full}{process="${process}"} ${Number.isNaN(value) ? 0 : value}\n`;
    })
    .join('');
  delay.reset();
  return text;
}
