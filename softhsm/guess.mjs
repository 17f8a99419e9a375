// Guesses an account's password through every subset of a fleet's vaults until no subset answers. During the first guesses,
// the vaults whose process ids are given are stopped, as in a network partition. At the end, the retry counters in the tokens
// tell how many evaluations the vaults gave.
import { readFileSync } from 'node:fs';
import { loadFleet } from '../dist/src/cli/fleet-file.js';
import { FleetClient, Undecided, WrongPassword } from '../dist/src/client/index.js';
import { audienceOf, subsets } from '../dist/src/protocol/index.js';

const [fleetFile, jwtFile, ...partitioned] = process.argv.slice(2);
const { threshold, vaults } = loadFleet(fleetFile);
const jwts = readFileSync(jwtFile, 'utf8').trim().split('\n');
const claims = (jwt) => JSON.parse(Buffer.from(jwt.split('.')[1], 'base64url'));
const jwtFor = (identity) => jwts.find((jwt) => claims(jwt).aud === audienceOf(identity));
const nowhere = 'http://127.0.0.1:9';

// A client that reaches only these vaults; the others do not answer it.
const seeing = (some) =>
  new FleetClient({
    threshold,
    vaults: vaults.map((vault) => (some.includes(vault) ? vault : { ...vault, url: nowhere })),
    account: claims(jwts[0]).sub,
    accessToken: ({ identity }) => jwtFor(identity),
    timeout: 3000,
    hedge: 500,
  });

const signal = (name) => {
  for (const pid of partitioned) process.kill(Number(pid), name);
};
let guesses = 0;
let failures = 0;
async function guess(client) {
  try {
    await client.recover(`guess ${guesses}`);
    throw new Error('a guess opened the account');
  } catch (error) {
    if (error instanceof WrongPassword || error instanceof Undecided) guesses++;
    else if (error.code) failures++;
    else throw error;
  }
}

signal('SIGSTOP');
for (let i = 0; i < 2; i++) await guess(seeing(vaults.slice(0, threshold)));
signal('SIGCONT');
console.log(`  ${guesses} guesses while vaults were cut off`);
const all = [...subsets(vaults, threshold)];
for (let i = 0; failures < all.length; i++) {
  const before = failures;
  await guess(seeing(all[i % all.length]));
  if (failures === before) failures = 0;
}

let maxAttempts = 0;
let spent = 0;
for (const { url, serverPublicKey } of vaults) {
  const jwt = jwtFor(Buffer.from(serverPublicKey).toString('base64url'));
  const answer = async (path, headers) => (await fetch(new URL(path, url), { headers })).json();
  const { maxAttempts: max } = await answer('/v1/identity', {});
  const { attemptsRemaining } = await answer('/v1/account', { authorization: `Bearer ${jwt}` });
  maxAttempts = max;
  spent += max - attemptsRemaining;
}
const bound = Math.floor((vaults.length * maxAttempts) / threshold);
console.log(
  `  ${guesses} guesses were answered, of at most ${bound}; the tokens counted ${spent} evaluations`,
);
process.exit(guesses <= bound && guesses * threshold <= spent ? 0 : 1);
