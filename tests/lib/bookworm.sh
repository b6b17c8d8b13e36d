#!/bin/bash
# A minimal Debian 12 in a folder, for what has to run where nothing is installed.
#   bookworm.sh [OUTDIR]     default <repo>/build/bookworm
# OUTDIR is debootstrap's minbase, with package lists, and with the packages that tests install in
# it downloaded, not installed: no test needs a network for it. Tests lay a layer over it (see
# layer.sh) and leave it as it is. Exit 1: not to be had here.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$repo/tests/lib/packages.sh"

out=${1:-$repo/build/bookworm}
mirror=${VMRIG_DEBIAN_MIRROR:-http://deb.debian.org/debian}
# All that vmrig's packages, the container and what drives them there may ask for.
wanted=(nlohmann-json3-dev libboost1.81-dev qemu-system-x86 qemu-utils passt iproute2 libhwloc15 libnl-3-200 libnl-route-3-200 libcap-ng0 libudev1)

build() {
  # By what this script says, not by its age: a checkout makes it new.
  local stamp
  stamp=$(sha256sum <"${BASH_SOURCE[0]}")
  if [ "$(cat "$out/.stamp" 2>/dev/null)" = "$stamp" ]; then
    say "bookworm: up to date ($out)"
    return 0
  fi
  local work="$out.tmp"
  # A run that was cut short may have left mounts in it.
  ! grep -q " $work/" /proc/mounts || { echo "bookworm: something is mounted below $work" >&2; return 1; }
  rm -rf "$work"
  say "bookworm: debootstrap"
  debootstrap --variant=minbase bookworm "$work" "$mirror" >"$out.log" 2>&1 ||
    { tail -n 3 "$out.log" >&2; echo "bookworm: debootstrap failed" >&2; return 1; }
  rm -f "$out.log"
  cat >"$work/etc/apt/sources.list" <<SOURCES
deb $mirror bookworm main
deb $mirror bookworm-updates main
deb $mirror-security bookworm-security main
SOURCES
  # What the host needs to reach a mirror, it needs, too.
  cp -L /etc/resolv.conf "$work/etc/resolv.conf"
  grep -lis proxy /etc/apt/apt.conf.d/* | xargs -r cp -t "$work/etc/apt/apt.conf.d" || true
  say "bookworm: downloading ${#wanted[@]} packages and what they need"
  local apt=(chroot "$work" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3)
  "${apt[@]}" update >/dev/null || { echo "bookworm: no package lists from $mirror" >&2; return 1; }
  "${apt[@]}" -y --download-only --no-install-recommends install "${wanted[@]}" >/dev/null ||
    { echo "bookworm: can't download ${wanted[*]}" >&2; return 1; }
  echo "$stamp" >"$work/.stamp"
  rm -rf "$out"
  mv "$work" "$out"
  say "bookworm: ready ($out, $(du -sh "$out" | cut -f1))"
}

[ "$(id -u)" = 0 ] || { echo "bookworm: only root can make it" >&2; exit 1; }
install_packages bookworm
with_lock "$(dirname "$out")/.bookworm.lock" build
