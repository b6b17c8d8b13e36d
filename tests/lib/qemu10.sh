#!/bin/bash
# Unpacks QEMU 10.0 from bookworm-backports beside the system's QEMU, installs nothing.
#   qemu10.sh [OUTDIR]     default <repo>/build/qemu10
# Makes OUTDIR/qemu-system-x86_64, a wrapper that finds its own data and modules. 7.2 has
# no SR-IOV network card, and differs on the command line. Exit 1: not to be had here.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

out=${1:-$repo/build/qemu10}
mirror=${VMRIG_DEBIAN_MIRROR:-http://deb.debian.org/debian}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# The display modules too: for one that it lacks QEMU would load the system's, and abort.
packages=(qemu-system-x86 qemu-system-common qemu-system-data qemu-system-gui
  qemu-system-modules-opengl qemu-system-modules-spice seabios ipxe-qemu)

# Answers the greeting of a started q35 machine, or fails.
check() {
  printf '%s\n' '{"execute":"qmp_capabilities"}' '{"execute":"query-status"}' '{"execute":"quit"}' |
    timeout 20 "$1" -M q35,accel=tcg -nodefaults -display none -S -qmp stdio 2>&1 |
    grep -q '"major": 10'
}

build() {
  if [ -x "$out/qemu-system-x86_64" ] && [ "$out/.stamp" -nt "${BASH_SOURCE[0]}" ]; then
    say "qemu10: up to date ($out)"
    return 0
  fi
  local work="$out.tmp"
  rm -rf "$work"
  mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/root"
  echo "deb [signed-by=$keyring] $mirror bookworm-backports main" >"$work/apt/sources.list"
  # Lists of its own: the host's apt must not learn of backports.
  local apt=(-qq -o "Dir::Etc::SourceList=$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o APT::Get::List-Cleanup=0)
  say "qemu10: downloading from bookworm-backports"
  apt_get "${apt[@]}" update || { echo "qemu10: no package lists from $mirror" >&2; return 1; }
  local package
  for package in "${packages[@]}"; do
    # ipxe-qemu is not in backports; a NIC's boot ROM then comes from the system's folder.
    (cd "$work/root" && apt_get "${apt[@]}" download "$package/bookworm-backports" >/dev/null 2>&1) ||
      [ "$package" = ipxe-qemu ] || { echo "qemu10: can't download $package" >&2; return 1; }
  done
  local deb
  for deb in "$work"/root/*.deb; do dpkg -x "$deb" "$work/root"; done
  rm -rf "$work"/root/*.deb "$work/apt"

  cat >"$work/qemu-system-x86_64" <<'WRAPPER'
#!/bin/sh
# Runs the unpacked QEMU with its own data and modules; exec keeps pid and descriptors.
here=$(dirname "$(readlink -f "$0")")/root
# The unpacked modules only: QEMU warns about those of another version.
export QEMU_MODULE_DIR="$here/usr/lib/x86_64-linux-gnu/qemu"
exec "$here/usr/bin/qemu-system-x86_64" -L "$here/usr/share/qemu" -L "$here/usr/share/seabios" \
  -L /usr/lib/ipxe/qemu -L /usr/share/qemu -L /usr/share/seabios "$@"
WRAPPER
  chmod +x "$work/qemu-system-x86_64"
  local lost
  lost=$(ldd "$work/root/usr/bin/qemu-system-x86_64" | awk '/not found/ {print $1}' | tr '\n' ' ')
  [ -z "$lost" ] || { echo "qemu10: libraries are missing: $lost" >&2; return 1; }
  check "$work/qemu-system-x86_64" || { echo "qemu10: it does not answer QMP" >&2; return 1; }
  touch "$work/.stamp"
  rm -rf "$out"
  mv "$work" "$out"
  say "qemu10: ready ($out, $("$out/qemu-system-x86_64" -version | head -1))"
}

with_lock "$(dirname "$out")/.qemu10.lock" build
