import { S3mini } from 's3mini';
import { attempt, statusOf } from './retry.js';
import { type Storage, StorageError, type Stored } from './storage.js';

/**
 * A bucket of any S3-compatible service, under an optional prefix: `s3://bucket/prefix`. Address and keys come from the
 * variables that the AWS tools know: AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.
 */
export class S3Storage implements Storage {
  readonly #client: S3mini;
  readonly #prefix: string;

  /** @throws StorageError when the variables are not set */
  constructor(readonly location: string) {
    const [, bucket, prefix] = /^s3:\/\/([^/]+)\/?(.*?)\/?$/.exec(location) ?? [];
    const { AWS_REGION: region = 'us-east-1', AWS_ACCESS_KEY_ID: accessKeyId } = process.env;
    const { AWS_SECRET_ACCESS_KEY: secretAccessKey } = process.env;
    const { AWS_ENDPOINT_URL: address = `https://s3.${region}.amazonaws.com` } = process.env;
    if (!bucket) throw new StorageError(`${location} names no bucket; write s3://bucket/prefix`);
    if (!accessKeyId || !secretAccessKey)
      throw new StorageError(`${location} needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`);
    this.#prefix = prefix ? `${prefix}/` : '';
    const endpoint = `${address.replace(/\/$/, '')}/${bucket}`;
    this.#client = new S3mini({ accessKeyId, secretAccessKey, endpoint, region });
  }

  async read(name: string): Promise<Uint8Array | undefined> {
    const content = await this.#attempt(() => this.#client.getObjectArrayBuffer(this.#prefix + name));
    return content ? Buffer.from(content) : undefined;
  }

  async write(name: string, content: Uint8Array): Promise<void> {
    await this.#attempt(() => this.#client.putObject(this.#prefix + name, Buffer.from(content)));
  }

  size(name: string): Promise<number | undefined> {
    return this.#attempt(async () => {
      try {
        return await this.#client.getContentLength(this.#prefix + name);
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw error;
      }
    });
  }

  async *list(folder: string): AsyncGenerator<Stored> {
    const prefix = this.#prefix + (folder && `${folder}/`);
    let token: string | undefined;
    do {
      const page = await this.#attempt(() => this.#client.listObjectsPaged('/', prefix, 1000, token));
      for (const { Key, LastModified } of page?.objects ?? [])
        yield { name: Key.slice(this.#prefix.length), written: new Date(LastModified).getTime() };
      token = page?.nextContinuationToken;
    } while (token);
  }

  async delete(name: string): Promise<void> {
    await this.#attempt(() => this.#client.deleteObject(this.#prefix + name));
  }

  #attempt<T>(work: () => Promise<T>): Promise<T> {
    return attempt(this.location, work);
  }

  /** The server has it when it has answered. */
  async flush(): Promise<void> {}

  async close(): Promise<void> {}
}
