/** Code in the tests' own process logs no warnings; the daemons that it starts log everything. */
const { BKV_LOG_LEVEL } = process.env;
process.env.BKV_LOG_LEVEL ??= 'error';
await import('../../src/keeper/log/index.js');
if (BKV_LOG_LEVEL === undefined) delete process.env.BKV_LOG_LEVEL;
