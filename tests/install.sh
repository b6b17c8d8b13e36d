#!/bin/bash
# libqmp-json as others use it: installs it into a folder of its own, builds examples/hotplug against
# that by CMake and by pkg-config, and runs it with a guest.
#   install.sh [BUILD]     default build/release
set -euo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"
build=$(readlink -f "${1:-$repo/build/release}")
vmrig=${VMRIG:-$build/launcher/vmrig}
guest=${VMRIG_GUEST:-$repo/build/guest}
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrig-install.XXXXXX")
# A QEMU with a user of its own has to pass through.
chmod 755 "$work"
export VMRIG_STATE_DIR=$work/state
finish() {
  "$vmrig" stop --force --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

say "installing libqmp-json"
cmake --install "$build" --component qmp-json --prefix "$work/root" >"$work/install.txt"
for header in "$work"/root/include/qmp/*.hpp; do
  ! grep -H '#include "\(launcher\|hostcfg\|devices\|tests\)/' "$header" || die "$header reaches into another room"
done
say "building the example by CMake"
cmake -S "$repo/examples/hotplug" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$work/root" -DCMAKE_CXX_FLAGS="-Wall -Wextra -Werror" >"$work/configure.txt"
cmake --build "$work/cmake"
say "building the example by pkg-config"
PKG_CONFIG_PATH=$(dirname "$(find "$work/root" -name qmp-json.pc)")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046  # words, as pkg-config means them
c++ "$repo/examples/hotplug/hotplug.cpp" $(pkg-config --cflags --libs qmp-json) -o "$work/hotplug"

say "starting a guest"
cat >"$work/vm.json" <<JSON
{"name": "hotplug", "machine": {"accel": "tcg"}, "memory": {"size": "512MiB"},
 "boot": {"kernel": "$guest/vmlinuz", "initrd": "$guest/initrd.img", "cmdline": "console=ttyS0 quiet panic=-1"},
 "serial": [{"id": "con0", "type": "socket"}]}
JSON
truncate -s 16M "$work/disk.img"
chmod 666 "$work/disk.img"
timeout 120 "$vmrig" start "$work/vm.json" --wait="vmrig guest ready"
socket=$VMRIG_STATE_DIR/hotplug/qmp.sock
nodes() { "$vmrig" qmp hotplug query-named-block-nodes; }
before=$(nodes)
for program in "$work/cmake/hotplug" "$work/hotplug"; do
  timeout 100 "$program" "$socket" "$work/disk.img" vmrig-port1
  [ "$(nodes)" = "$before" ] || die "the example left a block node behind"
done
# The second step fails: the first is undone, and its error is told.
status=0
"$work/hotplug" "$socket" "$work/disk.img" no-such-bus 2>"$work/error.txt" || status=$?
[ $status = 1 ] && grep -q "no-such-bus" "$work/error.txt" || die "a bus that is not there: exit $status"
[ "$(nodes)" = "$before" ] || die "the example did not roll back"
"$vmrig" stop --force hotplug
say "libqmp-json installs, builds by CMake and pkg-config, and hotplugs"
