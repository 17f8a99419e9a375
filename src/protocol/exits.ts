/** Exit codes of `bkv` and of the processes of a daemon. docs/cli.md is made from this table. */
export const EXITS = {
  done: { code: 0, meaning: 'done; of `serve`: stopped by SIGTERM or SIGINT' },
  failed: { code: 1, meaning: 'failed, or something is damaged; a second try may succeed' },
  usage: { code: 2, meaning: 'used wrongly, or not confirmed; nothing was done' },
  wrongPassword: { code: 3, meaning: 'wrong password' },
  locked: { code: 4, meaning: 'locked: the key is unreachable for ever' },
  incomplete: {
    code: 5,
    meaning: 'done, but not for everything: what is left out is named; of `doctor`: something is unsafe',
  },
  undecided: {
    code: 6,
    meaning: 'undecided: the password is wrong, or vaults that answered lie; more vaults must answer to tell',
  },
  /** EX_CONFIG of sysexits.h */
  inVain: { code: 78, meaning: 'of `serve`: starting it again would be useless or harmful' },
  interrupted: { code: 130, meaning: 'interrupted' },
  killed: {
    code: 137,
    meaning: 'of `serve`: the keeper killed itself, because a call into the module hung; start it again',
  },
  terminated: {
    code: 143,
    meaning: 'of `serve`: another signal ended the keeper; start it again',
  },
} as const;

/** What may end a process. */
export type Exit = keyof typeof EXITS;
