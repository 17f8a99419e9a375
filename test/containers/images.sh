#!/usr/bin/env bash
# Provides the engine with the base images of softhsm/compose.yaml. An image that no registry gives is made here, under its
# upstream name, from Debian's and npm's packages. The names of these stand-ins are printed, because the images that their
# makers publish were not tested.
set -euo pipefail
cd "$(dirname "$0")/images"

has() { docker image inspect "$1" >/dev/null 2>&1 || docker pull --quiet "$1" >/dev/null 2>&1; }

stand_in() {
  echo "$1"
  docker build --quiet --tag "$1" --file "$2" "${3:-.}" >/dev/null
}

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)

work=$(mktemp -d)
trap '"${as_root[@]}" rm -rf "$work"' EXIT

has debian:bookworm-slim || {
  echo debian:bookworm-slim
  "${as_root[@]}" debootstrap --variant=minbase --include=ca-certificates bookworm "$work/root" >/dev/null
  "${as_root[@]}" tar -C "$work/root" -c . | docker import - debian:bookworm-slim >/dev/null
}
has node:22-bookworm-slim || {
  case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) echo "no Node.js for $(uname -m)" >&2; exit 1 ;; esac
  mkdir -p "$work/packages" "$work/context/local/lib/node_modules"
  npm install --prefix "$work/packages" --ignore-scripts --no-audit --no-fund --silent "node-linux-$arch@22" npm@11 >/dev/null
  cp -r "$work/packages/node_modules/node-linux-$arch"/{bin,include,share} "$work/context/local/"
  cp -r "$work/packages/node_modules/npm" "$work/context/local/lib/node_modules/"
  for program in npm npx; do ln -s "../lib/node_modules/npm/bin/$program-cli.js" "$work/context/local/bin/$program"; done
  # On a network that inspects TLS, the machine trusts that network's certificate authority, and the image must too.
  cp /etc/ssl/certs/ca-certificates.crt "$work/context/"
  stand_in node:22-bookworm-slim node.Dockerfile "$work/context"
}
has postgres:17 || stand_in postgres:17 postgres.Dockerfile
has prom/prometheus:v3.5.0 || stand_in prom/prometheus:v3.5.0 prometheus.Dockerfile
