# limit: 180
# verify: all rows of a VM with a VF on isolated CPUs pass, and each thing that is broken fails its row.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state
undo bash -c '"$0" stop --all --force || :' "$VMRIG"
tid_of() { # VM ROLE: of its first thread with that role
  python3 -c 'import json, sys; print([t["tid"] for t in json.load(open(f"state/{sys.argv[1]}/state.json"))["threads"]
    if t["role"] == sys.argv[2]][0])' "$1" "$2"
}
pinned_of() { # VM ROLE
  python3 -c 'import json, sys; print([t["cpus"] for t in json.load(open(f"state/{sys.argv[1]}/state.json"))["threads"]
    if t["role"] == sys.argv[2]][0])' "$1" "$2"
}
# expect_only VM ROW: verify fails with this row and no other.
expect_only() {
  expect_fails 1 "$VMRIG" verify "$1" --seconds 0.5 >out
  cat out
  expect_eq "$(grep -c ^FAIL out)" 1 "rows that fail"
  grep "^FAIL  $2 " out || fail "not the row \"$2\""
}

step "a VM with a VF on node 1, on the isolated CPUs"
ip link set pf1 up
create_vfs $pf1 1
cat >n.json <<'EOF'
{"name": "n", "profile": "nfv", "cpu": {"vcpus": 1},
 "memory": {"size": "64MiB", "hugepages": "2MiB"}, "nics": [{"id": "net1", "type": "vf", "pf": "pf1"}]}
EOF
need "$VMRIG" plan n.json
need "$VMRIG" start n.json
need "$VMRIG" list --cpus
expect_eq "$(pinned_of n vcpu) $(pinned_of n emulator)" "2 3" "chosen CPUs"
need "$VMRIG" verify n
grep -q "node 1" <("$VMRIG" verify n --json) || fail "no memory on node 1"

step "a vCPU elsewhere, a worker elsewhere"
need taskset -pc 0 "$(tid_of n vcpu)"
expect_only n "vcpu 0"
need taskset -pc 2 "$(tid_of n vcpu)"
need taskset -pc 0 "$(tid_of n emulator)"
expect_only n "emulator"
need taskset -pc 3 "$(tid_of n emulator)"

step "another task on the vCPU's CPU"
taskset -c 2 python3 -c 'print("busy", flush=True)
while True: pass' >busy.out &
busy=$!
undo end_process $busy
wait_for_line busy.out busy 30 $busy
expect_fails 1 "$VMRIG" verify n >out
cat out
grep "^FAIL  others on CPU 2 .*python3 (pid $busy)" out || fail "the busy task is not seen"
end_process $busy
need "$VMRIG" stop --force n

step "pages on another node, memory that is not locked"
cat >m.json <<'EOF'
{"name": "m", "cpu": {"vcpus": 1, "pin": ["2"], "emulator": "3"},
 "memory": {"size": "64MiB", "node": 1, "prealloc": true}}
EOF
need "$VMRIG" start --paused m.json
need "$VMRIG" verify m
python3 - "$(tid_of m emulator)" <<'EOF'
import ctypes, sys
node0, node1 = ctypes.c_ulong(1), ctypes.c_ulong(2)
migrate_pages = 256
if ctypes.CDLL(None, use_errno=True).syscall(migrate_pages, int(sys.argv[1]), 64, ctypes.byref(node1), ctypes.byref(node0)) < 0:
    raise OSError(ctypes.get_errno(), "migrate_pages")
EOF
expect_only m memory
need "$VMRIG" stop --force m
sed -i 's/"prealloc": true/"prealloc": true, "lock": true/' m.json
need "$VMRIG" start --paused m.json
need "$VMRIG" verify m
need python3 "$LAB_DIR/inside/munlockall.py" "$(tid_of m emulator)"
expect_only m "lock of memory"
need "$VMRIG" qmp m query-status
need "$VMRIG" stop --force m
