// Makes a sample folder: a chat, a picture (PNG) and a video (Motion-JPEG-like noise in an AVI container).
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';

const [folder] = process.argv.slice(2);

const lines = Array.from(
  { length: 500 },
  (_, i) => `2026-01-01 12:00 ${i % 2 ? 'Bob' : 'Alice'}: message ${i} 👋`,
);
writeFileSync(join(folder, 'messages', 'bob.txt'), `${lines.join('\n')}\n`);

const table = Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});
const crc =
  crc32 ??
  ((data) => (data.reduce((c, byte) => table[(c ^ byte) & 255] ^ (c >>> 8), 0xffffffff) ^ 0xffffffff) >>> 0);
const chunk = (type, data) => {
  const body = Buffer.concat([Buffer.from(type), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length);
  body.copy(out, 4);
  out.writeUInt32BE(crc(body), body.length + 4);
  return out;
};
const size = 256;
const rows = Array.from({ length: size }, (_, y) =>
  Buffer.from([0, ...Array.from({ length: size }, (_, x) => [x, y, (x * y) & 255]).flat()]),
);
const head = Buffer.alloc(13);
head.writeUInt32BE(size, 0);
head.writeUInt32BE(size, 4);
head.set([8, 2, 0, 0, 0], 8);
writeFileSync(
  join(folder, 'pictures', 'sunset.png'),
  Buffer.concat([
    Buffer.from('89504e470d0a1a0a', 'hex'),
    chunk('IHDR', head),
    chunk('IDAT', deflateSync(Buffer.concat(rows))),
    chunk('IEND', Buffer.alloc(0)),
  ]),
);

const frames = randomBytes(9_000_000);
const riff = Buffer.alloc(12);
riff.write('RIFF');
riff.writeUInt32LE(frames.length + 4, 4);
riff.write('AVI ', 8);
writeFileSync(join(folder, 'videos', 'beach.avi'), Buffer.concat([riff, frames]));
