# limit: 240
# SIGKILL of supervisor, QEMU or both while a VM runs: stop and recover put the host back.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state

step "a VF on pf0"
ip link set pf0 up
create_vfs $pf0 1
vf=$(vf_of $pf0 0)
ip link set pf0 vf 0 mac 52:54:00:1a:b0:0a
record() { ip -j link show pf0 | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["vfinfo_list"])'; }
before=$(record)
cat >k.json <<EOF
{"name": "k", "memory": {"size": "64MiB"},
 "nics": [{"id": "net1", "type": "vf", "pf": "pf0", "mac": "52:54:00:1a:b0:77", "trust": true}]}
EOF
undo "$VMRIG" recover
undo bash -c '"$0" stop --all --force || :' "$VMRIG"
of_state() { python3 -c 'import json, sys; print(json.load(open("state/k/state.json"))[sys.argv[1]]["pid"])' "$1"; }
as_before() { # WHAT
  expect_eq "$(driver_of "$vf")" igbvf "driver of the VF after $1"
  expect_eq "$(<"$pci/$vf/driver_override")" "(null)" "override of the VF after $1"
  expect_eq "$(record)" "$before" "the PF's record after $1"
  expect_eq "$(ls "$VMRIG_STATE_DIR")" "" "state folder after $1"
}

step "the supervisor, then the orphan is stopped"
need "$VMRIG" start --paused k.json
expect_eq "$(driver_of "$vf")" vfio-pci "driver of the VF"
supervisor=$(of_state supervisor)
kill -KILL "$supervisor"
wait_for_exit "$supervisor" 10
expect_eq "$(driver_of "$vf")" vfio-pci "driver of the VF while QEMU lives"
"$VMRIG" recover
expect_eq "$(driver_of "$vf")" vfio-pci "driver of the VF after a recover while QEMU lives"
need "$VMRIG" stop --force k
as_before "the supervisor's death"

step "QEMU"
need "$VMRIG" start --paused k.json
supervisor=$(of_state supervisor)
kill -KILL "$(of_state qemu)"
wait_for_exit "$supervisor" 30
expect_eq "$(driver_of "$vf")" igbvf "driver of the VF after QEMU's death"
"$VMRIG" stop k || :
as_before "QEMU's death"

step "both"
need "$VMRIG" start --paused k.json
supervisor=$(of_state supervisor) qemu=$(of_state qemu)
kill -KILL "$supervisor" "$qemu"
wait_for_exit "$supervisor" 10
wait_for_exit "$qemu" 10
expect_eq "$(driver_of "$vf")" vfio-pci "driver of the VF, which nobody has given back"
need "$VMRIG" recover
as_before "both deaths"
