/** What a person opens a backup with. */
export type Way = 'password' | 'digits' | 'passkey' | 'contacts';

/** Of what kind an opener is to a person. Those of the first backups did not say whether they were digits. */
export const wayOf = ({ kind, form }: { kind: string; form?: 'password' | 'digits' }): Way =>
  kind === 'passkey' || kind === 'contacts' ? kind : (form ?? 'digits');
