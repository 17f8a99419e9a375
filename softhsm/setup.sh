#!/usr/bin/env bash
# Installs what a fresh Debian or Ubuntu lacks to run a vault: SoftHSM2 and build tools from the system's packages, then the
# locked npm packages. `dev` adds the npm packages for building and measuring. `test` adds these, and the servers and programs
# that the tests use. Does nothing if everything is there.
set -euo pipefail
cd "$(dirname "$0")/.."

major=$(node -p 'process.versions.node.split(".")[0]')
if [ "$major" -lt 20 ]; then
  echo "bkv needs Node.js 20 or later; this is $(node --version). README.md says where to get one." >&2
  exit 1
fi

missing=()
[ -e /usr/lib/softhsm/libsofthsm2.so ] || missing+=(softhsm2)
for pair in g++:g++ make:make python3:python3; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ "${1:-}" = test ]; then
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
  command -v pgbouncer >/dev/null || missing+=(pgbouncer)
  command -v promtool >/dev/null || missing+=(prometheus)
  # Ubuntu's chromium package is a snap, which many machines cannot run. There, Playwright installs the browser, below.
  grep -q '^ID=ubuntu' /etc/os-release || command -v chromium >/dev/null || missing+=(chromium)
  for program in restic rclone age; do command -v "$program" >/dev/null || missing+=("$program"); done
  for shell in zsh fish; do command -v "$shell" >/dev/null || missing+=("$shell"); done
  command -v borg >/dev/null || missing+=(borgbackup)
  command -v setpriv >/dev/null || missing+=(util-linux)
  /usr/bin/python3 -c 'import argon2, cryptography' 2>/dev/null || missing+=(python3-argon2 python3-cryptography)
fi
# Gets leave to run commands as root: if sudo is needed, a person is asked first, and CI is not.
# $1: what would be installed, $2: the commands to do it by hand.
as_root=()
expect_root() {
  [ "$(id -u)" -ne 0 ] || return 0
  by_hand() {
    echo "Install these first, as root: $1" >&2
    exit 1
  }
  command -v sudo >/dev/null || by_hand "$2"
  if [ "${CI:-}" != true ]; then
    [ -t 0 ] && [ -t 2 ] || by_hand "$2"
    read -r -p "Missing on this machine: $1. Install them with sudo apt-get? [y/N] " answer || echo
    [[ "$answer" =~ ^[Yy] ]] || by_hand "$2"
  fi
  as_root=(sudo)
}
if [ ${#missing[@]} -gt 0 ]; then
  expect_root "${missing[*]}" "apt-get update && apt-get install --no-install-recommends ${missing[*]}"
  echo "Installing ${missing[*]} …"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

is_installed() { cmp -s package-lock.json "node_modules/.bkv-lock$1"; }
install() {
  # If Node's own headers are installed, node-gyp need not download them.
  prefix=$(node -p 'require("path").resolve(process.execPath, "../..")')
  [ -e "$prefix/include/node/node.h" ] && export npm_config_nodedir="$prefix"
  echo "Installing npm packages. SQLite and the PKCS#11 binding are compiled, which takes some minutes …"
  npm "$@" --no-audit --no-fund --loglevel=error
}
if is_installed ''; then
  :
elif [ -z "${1:-}" ]; then
  if ! is_installed -run; then
    install ci --omit=dev
    cp package-lock.json node_modules/.bkv-lock-run
  fi
else
  # After a demonstration, the packages that a vault runs on are already compiled. `npm ci` would delete them.
  if is_installed -run; then install install --no-save; else install ci; fi
  cp package-lock.json node_modules/.bkv-lock
fi
if [ "${1:-}" = test ] && ! command -v chromium google-chrome >/dev/null; then
  browser=$(node -p 'require("playwright-core").chromium.executablePath()')
  [ -x "$browser" ] || npx playwright-core install chromium >/dev/null
  if ldd "$browser" | grep -q 'not found'; then
    expect_root 'libraries of the browser' 'npx playwright-core install-deps chromium'
    npx playwright-core install-deps chromium >/dev/null
  fi
fi
if [ "${1:-}" = test ]; then
  bash softhsm/opencryptoki.sh setup &
  opencryptoki=$!
  if ! cmp -s test/s3/package-lock.json test/s3/node_modules/.bkv-lock; then
    npm ci --prefix test/s3 --ignore-scripts --no-audit --no-fund --loglevel=error
    cp test/s3/package-lock.json test/s3/node_modules/.bkv-lock
  fi
  # 77: openCryptoki cannot run on this machine. The script has said why, and its test is skipped with the reason.
  wait $opencryptoki || [ $? -eq 77 ]
fi
