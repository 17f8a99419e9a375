#!/usr/bin/env bash
# setup: unpacks openCryptoki 3.27 of Debian sid, and what it needs, below node_modules/.cache. Debian 12's 3.8 has no
#   elliptic curves.
# run COMMAND…: runs a command there, beside a slot daemon with empty software tokens. The command sees this folder and /tmp;
#   nothing is left running, and nothing of the machine is touched.
# Wants Debian, and root or user namespaces with a range of users: where that is missing it ends with 77, and says why.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/node_modules/.cache/opencryptoki
root=$cache/root
slots=8
# The slot daemon refuses to be root.
user=100

cannot() {
  echo "openCryptoki cannot be tried here: $*" >&2
  exit 77
}

# As root in namespaces of its own, where all that it mounts and starts ends with it.
apart() {
  local how=(--mount --ipc --pid --fork --kill-child)
  [ "$(id -u)" -eq 0 ] || how+=(--user --map-root-user --map-auto)
  unshare "${how[@]}" true 2>/dev/null || cannot "it takes root, or user namespaces with a range of users (the package uidmap)"
  exec unshare "${how[@]}" "$@"
}

setup() {
  cmp -s "$0" "$cache/ready" && return
  (. /etc/os-release && [ "$ID" = debian ]) || cannot "this is no Debian, whose packages it comes from"
  local release mirror
  release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $release" | head -1)
  rm -rf "$cache"
  mkdir -p "$root" "$cache"/{lists,archives}/partial
  touch "$cache/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$cache/sources.list"
  cat >"$cache/apt.conf" <<END
Dir::Etc { SourceList "$cache/sources.list"; SourceParts "/dev/null"; };
Dir::State { Lists "$cache/lists"; status "$cache/status"; };
Dir::Cache "$cache";
Acquire::Languages "none";
APT { Install-Recommends "false"; Sandbox::User "$(id -un)"; };
END
  echo "Installing openCryptoki of Debian sid below node_modules/.cache …"
  export APT_CONFIG=$cache/apt.conf
  apt-get -qq update && apt-get -qq --yes --download-only install opencryptoki nodejs dash coreutils >/dev/null ||
    cannot "Debian's packages are not to be had"
  mkdir -p "$root"/{usr/{bin,sbin,lib,lib64},var,dev,proc,run,tmp,etc}
  for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done
  ln -s ../run "$root/var/run"; ln -s ../run/lock "$root/var/lock"
  for package in "$cache"/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
  rm -r "$cache"/{archives,lists} "$root"/usr/share/{doc,man,locale}
  printf '%s:x:%d:%d::/:/bin/sh\n' root 0 0 pkcsslotd $user $user >"$root/etc/passwd"
  printf 'root:x:0:\npkcs11:x:%d:root\n' $user >"$root/etc/group"
  chmod 640 "$root/etc/opencryptoki/strength.conf"
  {
    echo "version opencryptoki-3.27"
    for ((i = 0; i < slots; i++)); do
      printf 'slot %d\n{\n  stdll = libpkcs11_sw.so\n  tokversion = 3.12\n  tokname = test%d\n}\n' "$i" "$i"
    done
  } >"$root/etc/opencryptoki/opencryptoki.conf"
  cp "$0" "$cache/ready"
}

enter() {
  mount --make-rprivate /
  mount --rbind /dev "$root/dev"
  mount -t proc proc "$root/proc"
  mount --rbind /tmp "$root/tmp"
  local folder
  for folder in dev/shm run var/lib/opencryptoki var/log; do mount -t tmpfs tmpfs "$root/$folder"; done
  mkdir -p "$root$PWD"
  chown 0:$user "$root/etc/opencryptoki/strength.conf"
  install -d -o $user -g $user -m 770 "$root"/{run,run/lock,var/lib,var/log}/opencryptoki
  mount --bind "$PWD" "$root$PWD"
  # It closes every descriptor that there could be.
  (ulimit -n 1024 && chroot "$root" pkcsslotd)
  exec unshare --root "$root" --wd "$PWD" env PATH=/usr/bin:/usr/sbin "$@"
}

case "${1:-}" in
  setup) setup ;;
  run)
    [ -e "$cache/ready" ] || cannot "it was not set up"
    apart bash "$0" enter "${@:2}"
    ;;
  enter) enter "${@:2}" ;;
  *) echo "usage: $0 setup | run COMMAND" >&2; exit 2 ;;
esac
