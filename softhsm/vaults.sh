# Sourced by the demonstrations. Gives them a temporary folder, vaults that end when they do, and functions to print steps.
work=$(mktemp -d "${TMPDIR:-/tmp}/bkv-demo-XXXXXX")
declare -A vault_pids=()
cleanup() {
  for pid in "${vault_pids[@]}"; do
    kill -CONT "$pid" 2>/dev/null || true
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap cleanup EXIT
unset SOFTHSM2_CONF

bkv() { node dist/src/cli/main.js "$@"; }
step() { printf '\n%s\n' "── $*"; }
fail() {
  echo "demo: $*" >&2
  tail -n 20 "$work"/*.log >&2 || true
  exit 1
}

# start_vault NAME ADDRESS [ARGUMENT …]: a vault with its data in $work/NAME
start_vault() {
  local name=$1 address=$2
  shift 2
  node dist/src/cli/main.js serve --data "$work/$name" --listen "$address" --admin 127.0.0.1:0 "$@" 2>"$work/$name.log" &
  vault_pids[$name]=$!
  for _ in $(seq 150); do
    grep -q '"message":"serving"' "$work/$name.log" && return
    kill -0 "${vault_pids[$name]}" 2>/dev/null || fail "$name did not start"
    sleep 0.2
  done
  fail "$name did not start in time"
}

# field NAME FIELD: a field of the line that the vault logged when it began to serve
field() { node -e 'const l=require("fs").readFileSync(process.argv[1],"utf8").split("\n").find(l=>l.includes("\"serving\""));console.log(JSON.parse(l)[process.argv[2]])' "$work/$1.log" "$2"; }

kill_vaults() {
  for name in "$@"; do
    kill -KILL "${vault_pids[$name]}"
    wait "${vault_pids[$name]}" 2>/dev/null || true
    unset "vault_pids[$name]"
  done
}
