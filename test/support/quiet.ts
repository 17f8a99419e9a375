/** What runs in the tests' own process keeps its log's warnings to itself; the daemons that it starts say all. */
const { BKV_LOG_LEVEL } = process.env;
process.env.BKV_LOG_LEVEL ??= 'error';
await import('../../src/keeper/log/index.js');
if (BKV_LOG_LEVEL === undefined) delete process.env.BKV_LOG_LEVEL;
