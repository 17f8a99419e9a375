/** The ways in which a user opens a backup. */
export type Way = 'password' | 'digits' | 'passkey' | 'contacts';

/**
 * The kind of an opener, as the user sees it. Openers of the first backups did not say whether they were
 * digits.
 */
export const wayOf = ({ kind, form }: { kind: string; form?: 'password' | 'digits' }): Way =>
  kind === 'passkey' || kind === 'contacts' ? kind : (form ?? 'digits');
