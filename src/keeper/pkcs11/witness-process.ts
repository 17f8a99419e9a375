/** The process behind {@link Witness}: its first message is the profile of its token, each other one a question. */
import { ObjectFiles, softhsmFolder } from './files.js';
import type { Profile } from './profile.js';
import { Session } from './session.js';
import type { Question, Testimony } from './witness.js';

let session: Session | undefined;
let files: ObjectFiles | undefined;

function open(profile: Profile): Testimony {
  session = new Session(profile);
  files = profile.files && new ObjectFiles(softhsmFolder());
  return undefined;
}

function look(asked: Session, question: Question): Testimony {
  if ('data' in question) {
    if (!asked.holdsData(question.data, question.value)) return `the token did not keep ${question.data}`;
  } else if ('noKey' in question) {
    if (asked.holdsKey(question.noKey)) return `the token still holds ${question.noKey}`;
  } else if (!asked.unwraps(question.wrappingKey, question.wrapped, question.publicKey))
    return `the token did not keep the key ${question.wrappingKey}`;
  files?.sync();
  return undefined;
}

// The inspector is not to be opened by a signal; nothing outlives the daemon.
process.on('SIGUSR1', () => undefined);
process.on('disconnect', () => process.exit());
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
process.on('message', (message: Profile | Question) => {
  let seen: Testimony;
  try {
    seen = session ? look(session, message as Question) : open(message as Profile);
  } catch (error) {
    seen = (error as Error).message;
  }
  process.send?.({ seen });
});
