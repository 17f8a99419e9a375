/** Loaded by mocha, and by each of its processes, before any test file, and so before any module of a token. */
import './quiet.js';
import { rmSync } from 'node:fs';
import { softhsmHome } from '../../rig/token.js';

const folder = softhsmHome('bkv-test-');

process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
