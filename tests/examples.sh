#!/bin/bash
# Every file of examples/ has a stage of tests/run.sh that runs it: the table here says which, and is
# held against the folder and run.sh. What no other stage does is done here: network.json is started,
# in a network namespace with a card of its own; nfv.json and vf.json, which need pages and VFs that
# few hosts have, are planned for the recorded host that has them.
set -euo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"
vmrig=${VMRIG:-$repo/build/release/launcher/vmrig}

# Pattern of files; stage; what of the stage names it, below tests/.
table="container/* container container.py
host/* host-example host_example.sh
hotplug/* install install.sh
kubernetes/pod.yaml kubernetes kubernetes.py
network.json examples examples.sh
nfv.json examples examples.sh
quickstart.json quickstart ../examples/quickstart.sh
quickstart.sh quickstart run.sh
scripting/* scripting scripting.sh
systemd/vmrig@.service integration_tests integration/service_manager.cpp
vf.json examples examples.sh"

check_table() {
  local file pattern stage script found
  while read -r file; do
    found=no
    while read -r pattern stage script; do
      # shellcheck disable=SC2053  # a pattern
      [[ $file == $pattern ]] || continue
      found=yes
      grep -qE "^ *(stage|suite release) $stage " "$repo/tests/run.sh" ||
        die "tests/run.sh has no stage $stage, which runs examples/$file"
      grep -qF "${pattern%/\*}" "$repo/tests/$script" || die "tests/$script does not name examples/$file"
    done <<<"$table"
    [ $found = yes ] || die "no stage runs examples/$file" "name one in tests/examples.sh"
  done < <(cd "$repo/examples" && find . -type f -printf '%P\n')
}

# Arguments of QEMU that it must have for that machine.
plan_has() {
  local example=$1 text word
  shift
  text=$("$vmrig" plan "$repo/examples/$example" --argv --facts "$repo/tests/data/facts/two-socket-72cpu.json")
  for word; do
    grep -qF -- "$word" <<<"$text" || die "the plan of $example has no $word"
  done
}

inside() {
  export VMRIG_STATE_DIR=$1/state
  mount -t sysfs sysfs /sys
  ip link set lo up
  ip link add eno1 type veth peer name far
  ip link set eno1 up
  ip link set far up
  if ! "$vmrig" start --paused "$repo/examples/network.json" 2>"$1/error.txt"; then
    cat "$1/error.txt"
    grep -q "this kernel has no" "$1/error.txt" || die "network.json does not start"
    echo "SKIPPED: network.json was not started (the lab does): $(head -n 1 "$1/error.txt")"
    return
  fi
  local links
  links=$(ip -br link)
  for link in br-lan edge-lan edge-wan@eno1; do
    grep -q "^$link " <<<"$links" || die "network.json made no $link" "$links"
  done
  bridge vlan show dev edge-lan | grep -q "10 PVID" || die "edge-lan is not in VLAN 10"
  "$vmrig" verify edge --seconds 1
  "$vmrig" stop --force edge
  [ "$(ip -br link | grep -cv "^\(lo\|eno1@far\|far@eno1\) ")" = 0 ] || die "network.json left something: $(ip -br link)"
}

if [ "${1:-}" = --inside ]; then
  inside "$2"
  exit
fi
check_table
plan_has nfv.json '"host-nodes":[0]' '"prealloc":true' '"mem-path":' /var/lib/vmrig/router.qcow2
plan_has vf.json vfio-pci '"prealloc":true' '"mem-path":'
[ "$(id -u)" = 0 ] || { echo "SKIPPED: network.json was not started: needs root"; exit; }
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrig-examples.XXXXXX")
finish() {
  VMRIG_STATE_DIR=$work/state "$vmrig" stop --force --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT
chmod 755 "$work"
unshare --net --mount "$(readlink -f "${BASH_SOURCE[0]}")" --inside "$work"
say "every example has its stage"
