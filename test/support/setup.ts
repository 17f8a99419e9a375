/** Loaded by mocha, and by each of its processes, before any test file, and so before any module of a token. */
import { rmSync } from 'node:fs';
import { softhsmHome } from '../../rig/token.js';

const folder = softhsmHome('bkv-test-');

// What runs in this process keeps its log's warnings to itself; the daemons that it starts say all.
const { BKV_LOG_LEVEL } = process.env;
process.env.BKV_LOG_LEVEL ??= 'error';
await import('../../src/keeper/log/index.js');
if (BKV_LOG_LEVEL === undefined) delete process.env.BKV_LOG_LEVEL;

process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
