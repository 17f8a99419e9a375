#!/usr/bin/env bash
# start|stop: openCryptoki's slot daemon with many empty software tokens, for the tests. It takes over the
# machine's openCryptoki, whose configuration and tokens are put aside and put back.
set -euo pipefail
conf=/etc/opencryptoki/opencryptoki.conf
store=/var/lib/opencryptoki
run=/run/opencryptoki
lock=/run/lock/opencryptoki
slots=40

serve() {
  install -d -o pkcsslotd -g pkcs11 -m 710 "$run"
  install -d -g pkcs11 -m 770 "$lock"
  umask 000
  pkcsslotd
  for _ in $(seq 50); do
    [ -S "$run/pkcsslotd.socket" ] && return
    sleep 0.1
  done
  echo "pkcsslotd did not start" >&2
  exit 1
}
# It does not end on request while programs use it.
halt() {
  pkill -KILL -x pkcsslotd || true
  rm -f "$run"/pkcsslotd.socket "$run"/pkcsslotd.pid
}

case "$1" in
  start)
    [ "$(id -u)" -eq 0 ] || { echo "openCryptoki's tests need root" >&2; exit 1; }
    command -v pkcsslotd >/dev/null || { echo "install opencryptoki first (3.27 or later: older ones lack RFC 5649)" >&2; exit 1; }
    halt
    cp -n "$conf" "$conf.before-bkv"
    {
      echo "version opencryptoki-3.27"
      for i in $(seq 0 $((slots - 1))); do
        printf 'slot %d\n{\n  stdll = libpkcs11_sw.so\n  tokversion = 3.12\n  tokname = bkvtest%d\n}\n' "$i" "$i"
        rm -rf "$store/bkvtest$i"
      done
    } >"$conf"
    rm -f /dev/shm/var.lib.opencryptoki.bkvtest*
    serve
    ;;
  stop)
    halt
    mv "$conf.before-bkv" "$conf"
    rm -rf "$store"/bkvtest* /dev/shm/var.lib.opencryptoki.bkvtest*
    ;;
  *) echo "usage: $0 start|stop" >&2; exit 2 ;;
esac
