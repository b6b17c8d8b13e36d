#!/bin/bash
# From a bare Debian 12 to a running, pinned guest and back, as root:
#   examples/quickstart.sh
# Installs what is missing by apt, builds Release, makes a small Linux guest, starts it from
# examples/quickstart.json, shows its greeting and its pinned threads, and stops it by ACPI.
# Leaves nothing running; safe to run again, from any folder.
set -euo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../tests/lib/common.sh"
. "$repo/tests/lib/packages.sh"

[ "$(id -u)" = 0 ] || die "vmrig pins and tunes as root" "sudo $0"
name=quickstart
vmrig=$repo/build/release/launcher/vmrig
export VMRIG_GUEST=$repo/build/guest

install_packages build run guest

say "building vmrig (Release)"
mkdir -p "$repo/build/logs"
log=$repo/build/logs/quickstart-build.log
(cd "$repo" && cmake --preset release && cmake --build --preset release --target vmrig) >"$log" 2>&1 || {
  tail -n 40 "$log" >&2
  die "the build failed" "see $log"
}
"$repo/tests/guest/build.sh"

# A run that was cut short may have left its machine; its name is ours.
if "$vmrig" status "$name" >/dev/null 2>&1; then
  say "stopping the $name of an earlier run"
  "$vmrig" stop --force "$name"
fi
# Whatever fails from here on, the machine does not outlive the script.
started=no
finish() { [ $started = no ] || "$vmrig" stop --force "$name" >/dev/null 2>&1 || true; }
trap finish EXIT
trap 'exit 130' INT TERM HUP

say "what vmrig is going to do:"
"$vmrig" plan "$repo/examples/quickstart.json"

say "starting $name and waiting for the guest's greeting"
begin=$(date +%s%N)
started=yes
"$vmrig" start "$repo/examples/quickstart.json" --wait="vmrig guest ready"
booted=$(date +%s%N)

say "the guest's own words:"
# The console repeats what was printed before; --timeout leaves it again, with status 124.
words=$("$vmrig" console "$name" --timeout 1 </dev/null || [ $? = 124 ])
grep "vmrig guest ready" <<<"$words" || die "the console did not show the greeting" "vmrig console $name"
say "the machine, thread by thread:"
"$vmrig" status "$name"

say "pressing its power button"
stopping=$(date +%s%N)
"$vmrig" stop "$name"
stopped=$(date +%s%N)
started=no
say "machines left:"
"$vmrig" list
[ ! -e "/run/vmrig/$name/state.json" ] || die "/run/vmrig/$name is still there" "vmrig recover"

say "started and booted in $(((booted - begin) / 1000000)) ms, powered off in $(((stopped - stopping) / 1000000)) ms"
say "again: VMRIG_GUEST=$VMRIG_GUEST $vmrig start $repo/examples/quickstart.json"
