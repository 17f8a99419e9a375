/**
 * Whether a host, with or without the brackets of IPv6, is this device: an address of it, or `localhost`. A name that
 * only begins like one, such as 127.example, is not.
 */
export const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[?::1\]?)$/.test(host);

/** Whether others on the way can read and change what this URL fetches: `http:` to another device. */
export const isPlainHttp = ({ protocol, hostname }: Pick<URL, 'protocol' | 'hostname'>): boolean =>
  protocol === 'http:' && !isLoopback(hostname);
