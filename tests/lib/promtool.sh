#!/bin/bash
# Unpacks Prometheus' own promtool, which tells whether `vmrig metrics` prints what Prometheus takes.
# Installs nothing: of Debian's package one program is needed, and that needs libc alone.
#   promtool.sh [OUTDIR]       default <repo>/build/promtool
# Makes OUTDIR/promtool. Exit 1: not to be had here.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

out=${1:-$repo/build/promtool}

build() {
  if [ -x "$out/promtool" ] && [ "$out/promtool" -nt "${BASH_SOURCE[0]}" ]; then
    say "promtool: up to date ($out)"
    return 0
  fi
  apt_need_lists prometheus
  local work="$out.tmp"
  rm -rf "$work"
  mkdir -p "$work/deb" "$out"
  say "promtool: downloading"
  apt_fetch "$work/deb" prometheus || { echo "promtool: can't download prometheus" >&2; return 1; }
  dpkg --fsys-tarfile "$work"/deb/prometheus_*.deb | tar -x -C "$work" ./usr/bin/promtool
  "$work/usr/bin/promtool" --version >/dev/null || { echo "promtool: it does not run" >&2; return 1; }
  touch "$work/usr/bin/promtool"
  mv "$work/usr/bin/promtool" "$out/promtool"
  rm -rf "$work"
  say "promtool: ready ($out)"
}

with_lock "$(dirname "$out")/.promtool.lock" build
