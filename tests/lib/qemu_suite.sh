#!/bin/bash
# Unpacks the QEMU of another Debian suite with all of its libraries, installs nothing.
#   qemu_suite.sh 5.2|11.1 [OUTDIR]     default <repo>/build/qemu52, <repo>/build/qemu111
# 5.2 is bullseye's, 11.1 sid's. Makes OUTDIR/qemu-system-x86_64, a wrapper round a binary that has
# its own dynamic linker and libraries. Exit 1: not to be had here.
set -euo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/common.sh"
. "$repo/tests/lib/packages.sh"

version=${1:?"qemu_suite.sh 5.2|11.1"}
case $version in
  5.2) suite=bullseye packages=(qemu-system-x86) mirrors=(http://deb.debian.org/debian http://archive.debian.org/debian) ;;
  # The display modules too: for one that it lacks QEMU would load the system's, and abort.
  11.1) suite=sid packages=(qemu-system-x86 qemu-system-modules-opengl qemu-system-modules-spice) mirrors=(http://deb.debian.org/debian) ;;
  *) die "\"$version\" is none of 5.2 and 11.1" ;;
esac
out=${2:-$repo/build/qemu${version//./}}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Answers the greeting of a started q35 machine, or fails.
check() {
  printf '%s\n' '{"execute":"qmp_capabilities"}' '{"execute":"query-status"}' '{"execute":"quit"}' |
    timeout 30 "$1" -M q35,accel=tcg -nodefaults -display none -S -qmp stdio 2>&1 |
    grep -q "\"minor\": ${version#*.}, \"major\": ${version%.*}"
}

# download MIRROR: QEMU and everything that it depends on, as on a system without any package.
download() {
  local work=$1 mirror=$2
  rm -rf "$work"
  mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/root"
  : >"$work/apt/status"
  echo "deb [signed-by=$keyring check-valid-until=no] $mirror $suite main" >"$work/apt/sources.list"
  local apt=(-qq -o "Dir::Etc::SourceList=$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$work/apt/lists" -o "Dir::State::status=$work/apt/status" -o "Dir::Cache=$work/apt/cache"
    -o APT::Get::List-Cleanup=0 -o Debug::NoLocking=1)
  apt_get "${apt[@]}" update || return 1
  apt_get "${apt[@]}" install --yes --no-install-recommends --download-only "${packages[@]}"
}

build() {
  if [ -x "$out/qemu-system-x86_64" ] && [ "$out/.stamp" -nt "${BASH_SOURCE[0]}" ]; then
    say "qemu $version: up to date ($out)"
    return 0
  fi
  local work="$out.tmp" mirror got=no
  for mirror in "${mirrors[@]}"; do
    say "qemu $version: downloading from $suite at $mirror"
    if download "$work" "$mirror"; then got=yes && break; fi
  done
  [ $got = yes ] || { echo "qemu $version: not to be had from $suite" >&2; return 1; }
  local deb
  for deb in "$work"/apt/cache/archives/*.deb; do dpkg -x "$deb" "$work/root"; done
  rm -rf "$work/apt" "$work"/root/usr/share/{doc,man,locale}

  # RPATH, which unlike RUNPATH holds for the libraries' own libraries too.
  local binary=root/usr/bin/qemu-system-x86_64 libraries loader
  loader=$(cd "$work" && find root -path '*x86_64-linux-gnu/ld-linux-x86-64.so.2' | head -n 1)
  libraries=$(cd "$work" && find root -name '*.so.*' -not -path '*/qemu/*' -printf '%h\n' | sort -u |
    sed "s|^|$out/|" | paste -sd:)
  patchelf --set-interpreter "$out/$loader" --force-rpath --set-rpath "$libraries" "$work/$binary"
  cat >"$work/qemu-system-x86_64" <<'WRAPPER'
#!/bin/sh
# Runs the unpacked QEMU with its own data and modules; exec keeps pid and descriptors.
here=$(dirname "$(readlink -f "$0")")/root
export QEMU_MODULE_DIR="$here/usr/lib/x86_64-linux-gnu/qemu"
exec "$here/usr/bin/qemu-system-x86_64" -L "$here/usr/share/qemu" -L "$here/usr/share/seabios" \
  -L "$here/usr/lib/ipxe/qemu" "$@"
WRAPPER
  chmod +x "$work/qemu-system-x86_64"
  rm -rf "$out"
  # The interpreter's path is the final one: it runs only there.
  mv "$work" "$out"
  if ! check "$out/qemu-system-x86_64"; then
    echo "qemu $version: it does not answer QMP" >&2
    "$out/qemu-system-x86_64" -version >&2 || true
    return 1
  fi
  touch "$out/.stamp"
  say "qemu $version: ready ($out, $("$out/qemu-system-x86_64" -version | head -1))"
}

install_packages old_qemu
with_lock "$(dirname "$out")/.qemu${version//./}.lock" build
