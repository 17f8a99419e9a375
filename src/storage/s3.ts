import { createHash } from 'node:crypto';
import { AwsClient } from 'aws4fetch';
import { bodyOf, checked, HttpError, redirectOf, timeLimit } from './http.js';
import { attempt } from './retry.js';
import { MOST_NAME, type Storage, StorageError, type Stored } from './storage.js';

/**
 * A bucket of any S3-compatible service, under an optional prefix: `s3://bucket/prefix`. Address and keys come from the
 * variables that the AWS tools know: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, AWS_REGION or AWS_DEFAULT_REGION,
 * AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN.
 */
export class S3Storage implements Storage {
  readonly parallel = 16;
  readonly #client: AwsClient;
  readonly #bucket: string;
  readonly #prefix: string;

  /** @throws StorageError when the variables are not set */
  constructor(readonly location: string) {
    const [, bucket, prefix] = /^s3:\/\/([^/]+)\/?(.*?)\/?$/.exec(location) ?? [];
    // An empty variable counts as unset.
    const variable = (name: string) => process.env[name] || undefined;
    const region = variable('AWS_REGION') ?? variable('AWS_DEFAULT_REGION') ?? 'us-east-1';
    const accessKeyId = variable('AWS_ACCESS_KEY_ID');
    const secretAccessKey = variable('AWS_SECRET_ACCESS_KEY');
    const sessionToken = variable('AWS_SESSION_TOKEN');
    const address =
      variable('AWS_ENDPOINT_URL_S3') ??
      variable('AWS_ENDPOINT_URL') ??
      `https://s3.${region}.${region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com'}`;
    if (!bucket) throw new StorageError(`${location} names no bucket; write s3://bucket/prefix`);
    if (!accessKeyId || !secretAccessKey)
      throw new StorageError(`${location} needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`);
    this.#prefix = prefix ? `${prefix}/` : '';
    this.#bucket = `${address.replace(/\/$/, '')}/${bucket}`;
    this.#client = new AwsClient({
      accessKeyId,
      secretAccessKey,
      ...(sessionToken && { sessionToken }),
      region,
      service: 's3',
      retries: 0,
    });
  }

  read(name: string, most: number, into?: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#attempt(async () => {
      const response = await unlessMissing(this.#ask('GET', name));
      return response && bodyOf(response, name, most, into);
    });
  }

  async write(name: string, content: Uint8Array): Promise<void> {
    await this.#attempt(async () => drained(await this.#ask('PUT', name, content)));
  }

  size(name: string): Promise<number | undefined> {
    return this.#attempt(async () => {
      const response = await unlessMissing(this.#ask('HEAD', name));
      return response && Number(response.headers.get('content-length'));
    });
  }

  async *list(folder: string): AsyncGenerator<Stored> {
    const prefix = this.#prefix + (folder && `${folder}/`);
    let page: Page = { objects: [], next: '', last: Buffer.alloc(0), empty: 0 };
    do {
      const before = page;
      const query = new URLSearchParams({
        'list-type': '2',
        prefix,
        ...(before.next && { 'continuation-token': before.next }),
      });
      page = await this.#attempt(async () => {
        const answer = await bodyOf(await this.#ask('GET', '', undefined, query), 'a list', MOST_LISTED);
        return pageOf(new TextDecoder().decode(answer), prefix, before);
      });
      for (const { name: key, ...object } of page.objects) {
        const name = key.slice(this.#prefix.length);
        if (name) yield { name, ...object };
      }
    } while (page.next);
  }

  async delete(name: string): Promise<void> {
    await this.#attempt(async () => {
      const response = await unlessMissing(this.#ask('DELETE', name));
      if (response) await drained(response);
    });
  }

  /** @throws HttpError */
  async #ask(method: string, name: string, body?: Uint8Array, query?: URLSearchParams): Promise<Response> {
    const path = name && `/${(this.#prefix + name).split('/').map(encodeURIComponent).join('/')}`;
    const response = await this.#client.fetch(`${this.#bucket}${path}${query ? `?${query}` : ''}`, {
      method,
      redirect: redirectOf(method),
      signal: timeLimit(),
      headers: {
        'x-amz-content-sha256': createHash('sha256')
          .update(body ?? '')
          .digest('hex'),
      },
      // A copy, because `fetch` does not send memory that threads share.
      ...(body && { body: Uint8Array.from(body) }),
    });
    return checked(response, async (answer) => {
      const said = new TextDecoder().decode(await bodyOf(answer, 'an error', MOST_SAID));
      return { code: field(said, 'Code'), text: field(said, 'Message') };
    });
  }

  #attempt<T>(work: () => Promise<T>): Promise<T> {
    return attempt(this.location, work);
  }

  /** Nothing to do: once the server has answered, it has the object. */
  async flush(): Promise<void> {}

  async close(): Promise<void> {}
}

/** Most bytes of an error, and of a page of a list, which has at most 1,000 names. */
const MOST_LISTED = 8 * 1024 * 1024;
const MOST_SAID = 65_536;
/** Most pages in a row without a name: servers skip over what was deleted. */
const MOST_EMPTY = 1000;

/** A page of a list. */
interface Page {
  /** by their whole keys */
  readonly objects: readonly Stored[];
  /** the continuation token of the next page; `''` after the last one */
  readonly next: string;
  /** the last key until now */
  readonly last: Uint8Array;
  /** pages without a name until now, in a row */
  readonly empty: number;
}

/**
 * Reads a page. It must be complete: objects that are not listed would count as missing, and what only they
 * need as superfluous. Keys ascend in the order of their bytes, as ListObjectsV2 promises, so that a list
 * which goes in circles is noticed. @param prefix of all keys @param before the page before
 * @throws StorageError when it is not such a page, or the list stops before its end or does not come to it
 */
function pageOf(xml: string, prefix: string, before: Page): Page {
  if (!xml.includes('<ListBucketResult') || !xml.includes('</ListBucketResult>'))
    throw new StorageError('the server answered with something other than a list');
  const objects = xml
    .split('<Contents>')
    .slice(1)
    .map((object) => ({
      name: apart(field(object, 'Key')),
      size: Number(field(object, 'Size')),
      written: Date.parse(field(object, 'LastModified')),
    }));
  let { last } = before;
  for (const { name } of objects) {
    const key = Buffer.from(name);
    if (key.length > MOST_NAME || !name.startsWith(prefix) || Buffer.compare(last, key) >= 0)
      throw new StorageError(
        'the list of the server is out of order, or not what was asked for (ListObjectsV2)',
      );
    last = key;
  }
  const next = field(xml, 'IsTruncated') === 'true' ? apart(field(xml, 'NextContinuationToken')) : '';
  if (field(xml, 'IsTruncated') === 'true' && (next === '' || next === before.next))
    throw new StorageError('the server does not say how its list continues (ListObjectsV2)');
  const empty = objects.length > 0 ? 0 : before.empty + 1;
  if (empty > MOST_EMPTY)
    throw new StorageError(
      'the list of the server goes on without a name, and may have no end (ListObjectsV2)',
    );
  return { objects, next, last, empty };
}

/** The same text in memory of its own. A piece of a text keeps all of that text in memory. */
const apart = (piece: string): string => Buffer.from(piece).toString();

const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** The text of an element of the service's XML, which is flat where it is read; `''` when there is none. */
function field(xml: string, name: string): string {
  // A regular expression would take a time that grows with the square of an answer without the end.
  const start = xml.indexOf(`<${name}>`);
  const end = start < 0 ? -1 : xml.indexOf(`</${name}>`, start);
  const content = end < 0 ? '' : xml.slice(start + name.length + 2, end);
  return content.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex, decimal, word) =>
    word ? (ENTITIES[word] ?? whole) : String.fromCodePoint(Number.parseInt(hex ?? decimal, hex ? 16 : 10)),
  );
}

const drained = (response: Response): Promise<Uint8Array> => bodyOf(response, 'an answer', MOST_SAID);

async function unlessMissing(asked: Promise<Response>): Promise<Response | undefined> {
  try {
    return await asked;
  } catch (error) {
    // A missing bucket is reported; it is not a missing object.
    if (error instanceof HttpError && error.status === 404 && error.code !== 'NoSuchBucket') return undefined;
    throw error;
  }
}
