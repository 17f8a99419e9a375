// A proxy that makes a vault lie: it replaces the evaluated element of each KE2 by a random point of the curve.
import { createServer, request } from 'node:http';
import { p256 } from '@noble/curves/nist.js';

const vault = process.argv[2];
const server = createServer(async (incoming, outgoing) => {
  const body = Buffer.concat(await incoming.toArray());
  const { host: _, connection: __, ...headers } = incoming.headers;
  const forward = request(
    new URL(incoming.url, vault),
    { method: incoming.method, headers },
    async (answer) => {
      let text = Buffer.concat(await answer.toArray());
      if (incoming.url === '/v1/recovery/start' && answer.statusCode === 200) {
        const told = JSON.parse(text.toString());
        const KE2 = Buffer.from(told.KE2, 'base64url');
        KE2.set(p256.Point.fromBytes(p256.getPublicKey(p256.utils.randomSecretKey())).toBytes(true));
        text = Buffer.from(JSON.stringify({ ...told, KE2: KE2.toString('base64url') }));
      }
      outgoing.writeHead(answer.statusCode, { 'content-type': answer.headers['content-type'] ?? '' });
      outgoing.end(text);
    },
  );
  forward.on('error', () => outgoing.destroy()).end(body);
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
