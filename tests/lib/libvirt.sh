#!/bin/bash
# Unpacks Debian's libvirt, the peer that tests/bench/run.sh measures vmrig against. Installs nothing:
# the bench lays what is here over the host's own files, in a mount namespace of its own.
#   libvirt.sh [OUTDIR]       default <repo>/build/libvirt
# Makes OUTDIR/root, with libvirtd, virtlogd, virsh and the libraries that this host has not. Exit 1:
# not to be had here.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

out=${1:-$repo/build/libvirt}
wanted=(libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients)

# What apt would install for them, by name.
missing_packages() {
  LC_ALL=C apt-get -s --no-install-recommends install "${wanted[@]}" | awk '$1 == "Inst" {print $2}'
}

build() {
  if [ -x "$out/root/usr/bin/virsh" ] && [ "$out/.stamp" -nt "${BASH_SOURCE[0]}" ]; then
    say "libvirt: up to date ($out)"
    return 0
  fi
  apt_need_lists libvirt-daemon
  local work="$out.tmp" packages deb
  rm -rf "$work"
  mkdir -p "$work/deb" "$work/root"
  mapfile -t packages < <(missing_packages)
  # Installed ones are unpacked as well: the bench has one place to look.
  say "libvirt: downloading"
  apt_fetch "$work/deb" "${wanted[@]}" "${packages[@]}" ||
    { echo "libvirt: can't download ${wanted[*]}" >&2; return 1; }
  for deb in "$work"/deb/*.deb; do dpkg -x "$deb" "$work/root"; done
  rm -rf "$work/deb" "$work/root/usr/share/doc" "$work/root/usr/share/man"
  LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu "$work/root/usr/bin/virsh" --version >/dev/null ||
    { echo "libvirt: virsh does not run" >&2; return 1; }
  touch "$work/.stamp"
  rm -rf "$out"
  mv "$work" "$out"
  say "libvirt: ready ($out, $(du -sh "$out" | cut -f1))"
}

with_lock "$(dirname "$out")/.libvirt.lock" build
