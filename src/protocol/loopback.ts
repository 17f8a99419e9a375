/**
 * Whether a host, with or without the brackets of IPv6, is this device: an address of it, or `localhost`. A name that
 * only begins like one, such as 127.example, is not.
 */
export const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[?::1\]?)$/.test(host);
