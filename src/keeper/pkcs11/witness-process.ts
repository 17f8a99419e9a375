/**
 * The process behind {@link Witness}. Its first message is the profile of its token, every other message a
 * question.
 */
import type { SessionKeys } from './keyring.js';
import type { Profile } from './profile.js';
import { Session } from './session.js';
import { Unsynced, View } from './view.js';
import type { Answer, Question, Testimony } from './witness.js';

const IS_FULL = ': is the disk full?';

let session: Session | undefined;
let view: View | undefined;

/** The witness looks for page keys only, each when it is asked about it. */
const pageKeysOnly = ({ restored }: Profile): SessionKeys => ({
  keys: new Map(),
  points: new Map(),
  backupKey: undefined,
  pageKeyRules: { restored, hardened: new Set() },
});

function open(profile: Profile): Testimony {
  view = profile.files && new View();
  try {
    session = new Session(profile, { keys: () => pageKeysOnly(profile) });
  } finally {
    view?.entered();
  }
  return undefined;
}

/** A key that should be gone is searched for among all objects, not only the new ones. */
const lookIntoView = (asked: Session, question: Question): Testimony =>
  view ? view.during(() => look(asked, question), 'noKey' in question) : look(asked, question);

function look(asked: Session, question: Question): Testimony {
  if ('value' in question) {
    if (!asked.holdsData(question.data, question.value))
      return `the token did not keep ${question.data}${IS_FULL}`;
  } else if ('noKey' in question) {
    if (asked.holdsKey(question.noKey)) return `the token still holds ${question.noKey}`;
  } else if (!asked.holdsHmacKey(question.pageKey, question.data, question.mac))
    return `the token did not keep the key ${question.pageKey}${IS_FULL}`;
  return undefined;
}

// A signal must not open the inspector, and this process must not outlive the daemon.
process.on('SIGUSR1', () => undefined);
process.on('disconnect', () => process.exit());
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
process.on('message', (message: Profile | Question) => {
  let answer: Answer;
  try {
    const seen = session ? lookIntoView(session, message as Question) : open(message as Profile);
    answer = { seen };
  } catch (error) {
    const unsynced = error instanceof Unsynced ? error.objects : [];
    const { code } = (error instanceof Unsynced ? error.cause : error) as NodeJS.ErrnoException;
    answer = { seen: `${(error as Error).message}${code === 'ENOSPC' ? IS_FULL : ''}`, unsynced };
  }
  process.send?.(answer);
});
