/**
 * The `aud` (RFC 7519) of an access token that only one vault accepts. @param identity its public key,
 * base64url
 */
export const audienceOf = (identity: string): string => `bkv:${identity}`;
