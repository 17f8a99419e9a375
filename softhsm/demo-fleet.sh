#!/usr/bin/env bash
# Demonstrates a fleet of five vaults, each with its own token. Any three recover the key; fewer can neither recover it nor
# test a guess.
set -euo pipefail
cd "$(dirname "$0")/.."
source softhsm/vaults.sh

step 'Starting five vaults, each a process with a token, a database and counters of its own.'
# Without rate limits, so that only the retry counters stop the guesser.
echo 'rateLimit: { account: 100000, address: 100000 }' >"$work/first.yaml"
start_vault vault1 127.0.0.1:0 --config "$work/first.yaml"
cat "$work/first.yaml" - >"$work/others.yaml" <<EOF
auth: { jwks: $work/vault1/issuer.jwks.json, issuer: bkv-embedded }
EOF
for n in 2 3 4 5; do start_vault "vault$n" 127.0.0.1:0 --config "$work/others.yaml"; done
urls=()
for n in 1 2 3 4 5; do urls+=("$(field "vault$n" url)"); done
export BKV_FLEET=$work/fleet.yaml
bkv fleet pin --threshold 3 "${urls[@]}" >"$BKV_FLEET"
bkv fleet check
# One JWT for each vault, because a vault accepts only its own audience.
(
  umask 077
  for n in 1 2 3 4 5; do
    bkv jwt --data "$work/vault1" --account alice --server-key "$(cat "$work/vault$n/identity")"
  done >"$work/alice.jwt"
)
key=(--jwt-file "$work/alice.jwt")

step 'The phone makes a key, deals its OPRF key to the five, and has each keep a share, wrapped for its token.'
bkv key new --out "$work/phone.key" | sed 's/^/  /'
echo 'correct horse battery staple' | bkv key register --key-file "$work/phone.key" "${key[@]}"
bkv status "${key[@]}"

restart() { # on the vault's address in the fleet file
  local n=$1 config=others
  [ "$n" -ne 1 ] || config=first
  local url=${urls[$((n - 1))]}
  start_vault "vault$n" "${url#http://}" --config "$work/$config.yaml"
}

step 'Vault 2 lies: whatever it is asked, it evaluates the password wrongly. It is named, and the key comes back.'
node softhsm/liar.mjs "${urls[1]}" >"$work/liar.url" &
vault_pids[liar]=$!
for _ in $(seq 50); do [ ! -s "$work/liar.url" ] || break; sleep 0.1; done
sed "s#${urls[1]}#$(cat "$work/liar.url")#" "$BKV_FLEET" >"$work/lying.yaml"
echo 'correct horse battery staple' | bkv key recover --fleet "$work/lying.yaml" "${key[@]}" --out "$work/despite.key" 2>"$work/lying.txt"
cat "$work/lying.txt"
grep -q "$(cat "$work/liar.url") gave a wrong answer" "$work/lying.txt" || fail 'the liar was not named'
cmp "$work/phone.key" "$work/despite.key" && echo 'The key is back.'
kill_vaults liar

step 'A recovery; while it is under way, vaults 1 and 2 are killed.'
echo 'correct horse battery staple' | bkv key recover "${key[@]}" --out "$work/again.key" &
recovery=$!
sleep 0.4
kill_vaults vault1 vault2
wait "$recovery" || fail 'two dead vaults stopped a recovery'
cmp "$work/phone.key" "$work/again.key" && echo 'The key is back.'

step 'A third is killed: two cannot do it, and the message says so.'
kill_vaults vault3
if echo 'correct horse battery staple' | bkv key recover "${key[@]}" --out "$work/none.key"; then fail 'two vaults were enough'; fi
bkv fleet check || true

step 'All five are up again. Somebody guesses: over every subset of three, and while vaults 4 and 5 are cut off from the rest.'
for n in 1 2 3; do restart "$n"; done
node softhsm/guess.mjs "$BKV_FLEET" "$work/alice.jwt" "${vault_pids[vault4]}" "${vault_pids[vault5]}" || fail 'there were too many guesses'

step 'Now not even the right password helps:'
code=0
echo 'correct horse battery staple' | bkv key recover "${key[@]}" --out "$work/late.key" || code=$?
[ "$code" -ne 0 ] || fail 'the key was not locked'

step 'Done. Nothing is left running, and the demonstration folder is removed.'
