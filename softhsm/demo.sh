#!/usr/bin/env bash
# Demonstrates the main path: back up, lose the device, recover with the password, lock out someone who guesses.
set -euo pipefail
cd "$(dirname "$0")/.."

source softhsm/vaults.sh

step 'Starting a vault: its keys and its retry counters lie in a SoftHSM2 token of its own.'
start_vault vault 127.0.0.1:0
export BKV_VAULT BKV_SERVER_KEY
BKV_VAULT=$(field vault url)
BKV_SERVER_KEY=$(field vault serverPublicKey)
(umask 077; bkv jwt --data "$work/vault" --account alice >"$work/alice.jwt")
echo "It answers at $BKV_VAULT and is known by the key $BKV_SERVER_KEY."

step "Alice's phone: a chat, a picture and a video."
mkdir -p "$work/phone/messages" "$work/phone/pictures" "$work/phone/videos"
node softhsm/sample.mjs "$work/phone"
cp -r "$work/phone" "$work/original"
(cd "$work/phone" && find . -type f -exec ls -l {} + | awk '{print "  " $5 " bytes  " $9}')

step 'The phone makes a random 256-bit key, encrypts a backup with it, and has the vault hold the key under a password.'
bkv key new --out "$work/phone.key" | sed 's/^/  /'
bkv backup "$work/phone" "$work/cloud" --key-file "$work/phone.key"
echo 'correct horse battery staple' | bkv key register --key-file "$work/phone.key" --jwt-file "$work/alice.jwt"
bkv status --jwt-file "$work/alice.jwt"

step 'The phone falls into the sea: messages, pictures, videos and the key are gone.'
rm -rf "$work/phone" "$work/phone.key"

step 'A new phone. Alice types her password, once wrongly:'
if echo 'incorrect horse' | bkv key recover --jwt-file "$work/alice.jwt" --out "$work/new.key"; then fail 'a wrong password was taken'; fi
echo 'and then rightly:'
echo 'correct horse battery staple' | bkv key recover --jwt-file "$work/alice.jwt" --out "$work/new.key"
bkv restore "$work/cloud" "$work/new-phone" --key-file "$work/new.key"
diff -r "$work/original" "$work/new-phone" && echo 'Every byte is back.'

step 'Somebody else guesses.'
code=0
for n in $(seq 20); do
  code=0
  echo "guess number $n" | bkv key recover --jwt-file "$work/alice.jwt" --out "$work/stolen.key" 2>"$work/answer" || code=$?
  echo "  guess $n: $(sed 's/^bkv: //' "$work/answer")"
  [ "$code" -eq 3 ] || break
done
[ "$code" -eq 4 ] || fail "guessing ended with exit code $code"
[ "$n" -eq 11 ] || fail "the vault took $((n - 1)) guesses"

step 'Now not even the right password helps:'
code=0
echo 'correct horse battery staple' | bkv key recover --jwt-file "$work/alice.jwt" --out "$work/late.key" || code=$?
[ "$code" -eq 4 ] || fail 'the key was not locked'
bkv status --jwt-file "$work/alice.jwt"

step 'Done. Nothing is left running, and the demonstration folder is removed.'
