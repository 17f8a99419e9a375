import { X509Certificate } from 'node:crypto';

const BLOCK = /-----BEGIN ((?:TRUSTED |X509 )?CERTIFICATE)-----.+?-----END \1-----/gs;

/** All certificates of a PEM file. @throws Error when there is none, or one of them cannot be read */
export function certificatesIn(pem: Buffer): X509Certificate[] {
  const blocks = pem.toString('latin1').match(BLOCK);
  if (!blocks) throw new Error('no certificate in PEM');
  return blocks.map((block) => new X509Certificate(block));
}
