/** Most characters of it. */
const MOST = 500;

/** What another machine says to people, without characters that control a terminal or reorder text. */
export const said = (text: string): string =>
  text.slice(0, MOST).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ');
