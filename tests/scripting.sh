#!/bin/bash
# The examples that script hotplug, in bash and in Python, on a guest: each gives it a disk and takes it
# back, and rolls back when a step fails. (The one in C++ is in install.sh.)
set -euo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"
vmrig=${VMRIG:-$repo/build/release/launcher/vmrig}
guest=${VMRIG_GUEST:-$repo/build/guest}
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrig-scripting.XXXXXX")
# A QEMU with a user of its own has to pass through.
chmod 755 "$work"
export VMRIG_STATE_DIR=$work/state
mkdir "$work/bin"
ln -s "$vmrig" "$work/bin/vmrig"
export PATH=$work/bin:$PATH
finish() {
  vmrig stop --force --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

cat >"$work/vm.json" <<JSON
{"name": "scripted", "machine": {"accel": "tcg", "hotplug_ports": 4}, "memory": {"size": "256MiB"},
 "boot": {"kernel": "$guest/vmlinuz", "initrd": "$guest/initrd.img", "cmdline": "console=ttyS0 quiet panic=-1"},
 "serial": [{"id": "con0", "type": "socket"}]}
JSON
# A name that no shell and no JSON takes by chance.
image="$work/a \"disk\", \$HOME.img"
truncate -s 16M "$image"
chmod 666 "$image"
timeout 120 vmrig start "$work/vm.json" --wait="vmrig guest ready"
state() { vmrig qmp scripted query-named-block-nodes && vmrig status scripted --json | python3 -c '
import json, sys
status = json.load(sys.stdin)
print(status["config"]["disks"], status["claim"], status["pending_unplugs"])'; }
before=$(state)

for program in "hotplug.sh scripted" "hotplug.py $VMRIG_STATE_DIR/scripted/qmp.sock"; do
  # shellcheck disable=SC2206  # two words
  words=($program)
  say "${words[0]}"
  "$repo/examples/scripting/${words[0]}" "${words[1]}" "$image" >"$work/out.txt" 2>&1 || { cat "$work/out.txt"; die "${words[0]} failed"; }
  for said in "limited to 500" '"DEVICE_DELETED"' '"scratch0"'; do
    grep -q -- "$said" "$work/out.txt" || { cat "$work/out.txt"; die "${words[0]} did not say $said"; }
  done
  [ "$(state)" = "$before" ] || die "${words[0]} left something behind"

  # QEMU refuses the second step: the first one is undone, and the fault is the one that is told.
  status=0
  "$repo/examples/scripting/${words[0]}" "${words[1]}" "$image" -1 >"$work/out.txt" 2>&1 || status=$?
  [ $status = 1 ] && grep -q "must be within" "$work/out.txt" || { cat "$work/out.txt"; die "${words[0]}: exit $status of a step that fails"; }
  [ "$(state)" = "$before" ] || die "${words[0]} did not roll back"

  # vmrig refuses the first one: there is nothing to undo.
  status=0
  "$repo/examples/scripting/${words[0]}" "${words[1]}" "$work/no such image" >"$work/out.txt" 2>&1 || status=$?
  [ $status = 1 ] || [ $status = 2 ] || { cat "$work/out.txt"; die "${words[0]}: exit $status without its image"; }
  grep -q "no such image" "$work/out.txt" || { cat "$work/out.txt"; die "${words[0]} does not name the image"; }
  [ "$(state)" = "$before" ] || die "${words[0]} left something of an image that is not there"
done
vmrig stop --force scripted
say "both plug, wait for the event, and roll back"
