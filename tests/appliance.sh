#!/bin/bash
# vmrig in an appliance: what the program needs of a system, how large it is, and that it works where
# there is nothing else: in a root folder with the C library only, and with a VM.
#   appliance.sh
set -euo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"
# The C library is the system's: it has to fit its kernel, and its own plugins.
allowed='ld-linux-x86-64\.so\.2|libc\.so\.6'
most_kib=6144
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrig-appliance.XXXXXX")
chmod 755 "$work"
export VMRIG_STATE_DIR=$work/state
finish() {
  [ ! -x "$work/vmrig" ] || "$work/vmrig" stop --force --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

program=${VMRIG:-$repo/build/release/launcher/vmrig}
strip -o "$work/vmrig" "$program"
kib=$(($(stat -c %s "$work/vmrig") / 1024))
needed=$(readelf -d "$work/vmrig" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort | tr '\n' ' ')
say "one file of $kib KiB, stripped; of the system it needs $needed"
# shellcheck disable=SC2086  # a word each
surplus=$(printf '%s\n' $needed | grep -vxE "$allowed" || true)
[ -z "$surplus" ] || die "it needs $surplus, too"
[ "$kib" -le $most_kib ] || die "it is larger than $most_kib KiB"

# Where there is nothing else, it reads the host and plans.
ldd "$work/vmrig" | grep -o '/[^ ]*' | while read -r library; do install -D "$library" "$work/root$library"; done
install -D "$work/vmrig" "$work/root/vmrig"
install -D "$repo/examples/nfv.json" "$work/root/nfv.json"
install -D "$repo/tests/data/facts/two-socket-72cpu.json" "$work/root/facts.json"
install -D "$repo/tests/data/caps/qemu-7.2.json" "$work/root/caps.json"
if unshare --mount --propagation private true 2>/dev/null; then
  # shellcheck disable=SC2016  # the inner shell's
  unshare --mount --propagation private sh -c 'mkdir "$1/proc" "$1/sys" &&
    mount --bind /proc "$1/proc" && mount --bind /sys "$1/sys" && chroot "$1" /vmrig host facts' sh "$work/root" >"$work/there.json"
  rmdir "$work/root/proc" "$work/root/sys"
  # What hwloc finds in there is what it finds out here.
  "$program" host facts >"$work/here.json"
  python3 - "$work/here.json" "$work/there.json" <<'PYTHON'
import json, sys
here, there = (json.load(open(name, encoding="utf-8")) for name in sys.argv[1:])
for key in ("cpus", "present", "allowed", "nodes"):
    for facts in (here, there):
        for node in facts["nodes"]:
            node.pop("memory_free", None)
            node.pop("hugepages", None)
    if here[key] != there[key]:
        sys.exit(f"{key} differs: {here[key]} and {there[key]}")
PYTHON
  env -i PATH="$PATH" chroot "$work/root" /vmrig plan /nfv.json --facts /facts.json --caps /caps.json >"$work/plan.txt"
  grep -q "router   node 0 of 2" "$work/plan.txt" || die "it does not plan in a root folder of its own"
else
  say "no mount namespace here: not tried in a root folder of its own"
fi

cat >"$work/vm.json" <<'JSON'
{"name": "appliance", "machine": {"accel": "tcg"}, "cpu": {"vcpus": 1, "pin": "auto", "exclusive": false}, "memory": {"size": "64MiB"},
 "nics": [{"id": "net0", "type": "user"}], "serial": [{"id": "con0", "type": "socket"}]}
JSON
"$work/vmrig" start "$work/vm.json"
"$work/vmrig" status appliance --ready
"$work/vmrig" qmp appliance query-status >/dev/null
"$work/vmrig" attach appliance rng '{"id": "rng1"}'
"$work/vmrig" stop --force appliance
say "it works"
