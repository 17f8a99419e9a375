/** The processes of a daemon, as the system sees them. */
import { readdirSync, readFileSync } from 'node:fs';

export interface DaemonProcesses {
  readonly keeper: number | undefined;
  /** the primary of the HTTP side */
  readonly http: number | undefined;
  readonly workers: readonly number[];
  /** the operator's side */
  readonly admin: number | undefined;
  /** these, and the supervisor */
  readonly all: readonly number[];
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

/** Fields of `/proc/<pid>/stat` from the state on. */
const stat = (pid: number): string[] => read(pid, 'stat').split(') ').at(-1)?.split(' ') ?? [];

export const childrenOf = (parent: number): number[] =>
  readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && Number(stat(pid)[1]) === parent && isAlive(pid));

/** Whether a process runs. A zombie does not. */
export function isAlive(pid: number): boolean {
  const state = stat(pid)[0];
  return state !== undefined && state !== '' && state !== 'Z' && state !== 'X';
}

/** @param supervisor process id of `bkv serve` */
export function processesOf(supervisor: number): DaemonProcesses {
  const parts = childrenOf(supervisor);
  const named = (name: string) => parts.find((pid) => read(pid, 'cmdline').split('\0').includes(name));
  const http = named('http');
  const workers = http ? childrenOf(http) : [];
  return {
    keeper: named('keeper'),
    http,
    workers,
    admin: named('admin'),
    all: [supervisor, ...parts, ...workers].filter(isAlive),
  };
}

/** Seconds of processor time since its start. */
export function cpuOf(pid: number): number {
  const fields = stat(pid);
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** The same for its main thread, and for all its other threads together. */
export function threadsCpuOf(pid: number): { main: number; others: number } {
  const fields = read(pid, `task/${pid}/stat`).split(') ').at(-1)?.split(' ') ?? [];
  const main = (Number(fields[11]) + Number(fields[12])) / 100;
  return { main, others: cpuOf(pid) - main };
}
