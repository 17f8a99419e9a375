import assert from 'node:assert/strict';
import express from 'express';
import { cors } from '../../src/http/cors.js';
import { withoutPorts } from '../../src/http/forwarded.js';
import { listen, stop } from '../../src/http/serve.js';

describe('the origin of a request, through load balancers and from pages', () => {
  const server = express().disable('x-powered-by');
  server.set('trust proxy', ['127.0.0.1', '10.0.0.0/8']);
  server.use(cors(['https://app.example']), withoutPorts);
  server.get('/', (request, response) => void response.send(request.ip));
  let url = '';
  let close: () => Promise<void>;
  before(async () => {
    const listening = await listen(server, { host: '127.0.0.1', port: 0 });
    url = listening.url;
    close = () => stop(listening.server, 0);
  });
  after(() => close());
  const ipOf = async (forwarded: string) =>
    (await fetch(url, { headers: { 'x-forwarded-for': forwarded } })).text();

  it('a client is its address, whatever ports the load balancers add', async () => {
    for (const [forwarded, ip] of [
      ['203.0.113.7', '203.0.113.7'],
      ['203.0.113.7:51234', '203.0.113.7'],
      ['[2001:db8::7]:51234', '2001:db8::7'],
      ['[2001:db8::7]', '2001:db8::7'],
      ['2001:db8::7', '2001:db8::7'],
      ['6.6.6.6, 203.0.113.7:1, 10.1.2.3:8080', '203.0.113.7'],
    ] as const)
      assert.equal(await ipOf(forwarded), ip, forwarded);
  });

  it('pages of the configured origins may ask, others may not', async () => {
    const preflight = (origin: string) =>
      fetch(url, {
        method: 'OPTIONS',
        headers: { origin, 'access-control-request-method': 'POST' },
      });
    const allowed = await preflight('https://app.example');
    assert.equal(allowed.status, 204);
    assert.equal(allowed.headers.get('access-control-allow-origin'), 'https://app.example');
    assert.match(allowed.headers.get('access-control-allow-headers') ?? '', /authorization/);
    for (const origin of ['https://evil.example', 'https://app.example.evil', 'null']) {
      const refused = await preflight(origin);
      assert.equal(refused.headers.get('access-control-allow-origin'), null);
      const answered = await fetch(url, { headers: { origin } });
      assert.equal(answered.headers.get('access-control-allow-origin'), null);
      assert.equal(answered.headers.get('vary'), 'Origin');
    }
    const asked = await fetch(url, { headers: { origin: 'https://app.example' } });
    assert.equal(asked.headers.get('access-control-allow-origin'), 'https://app.example');
  });
});
