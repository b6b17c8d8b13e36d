# limit: 420
# A VM from one file with a VF, hugepages, mlock and pinned vCPUs boots, pings and gives all back.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state

step "two VFs on pf1, as their owner left them"
ip link set pf1 up
create_vfs $pf1 2
vf=$(vf_of $pf1 0)
ip link set pf1 vf 0 mac 52:54:00:1a:b1:0a
ip link set pf1 vf 0 vlan 7
undo ip addr del 192.0.2.1/24 dev pf1
ip addr add 192.0.2.1/24 dev pf1
record() { ip -j link show pf1 | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["vfinfo_list"])'; }
before=$(record)
free_before=$(free_pages 1 2048)

step "the plan"
cat >vm.json <<EOF
{"name": "v", "profile": "nfv", "latency": false, "cpu": {"vcpus": 1},
 "memory": {"size": "256MiB", "hugepages": "2MiB"},
 "boot": {"kernel": "$VMRIG_GUEST/vmlinuz", "initrd": "$VMRIG_GUEST/initrd.img",
          "cmdline": "console=ttyS0 quiet panic=-1"},
 "nics": [{"id": "net1", "type": "vf", "pf": ["pf1"], "vf": "auto", "mac": "52:54:00:1a:b1:77",
           "vlan": 0, "trust": true, "spoofchk": false, "max_rate": "100Mbit"}]}
EOF
need "$VMRIG" plan vm.json
need "$VMRIG" plan --json vm.json >plan.json
expect_eq "$(driver_of "$vf")" igbvf "driver after a plan"
expect_eq "$(record)" "$before" "the PF's record after a plan"

step "start, until the guest greets"
undo "$VMRIG" recover
undo bash -c '"$0" stop --force v 2>/dev/null || :' "$VMRIG"
"$VMRIG" start vm.json --wait "vmrig guest ready" --timeout 250 || { "$VMRIG" logs v || :; fail "start"; }
expect_eq "$(driver_of "$vf")" vfio-pci "driver while the VM runs"
need test -c "/dev/vfio/$(group_of "$vf")"
expect_eq $((free_before - $(free_pages 1 2048))) 128 "2MiB pages of node 1 in use"
record | grep -q 52:54:00:1a:b1:77 || fail "the PF does not have the VF's MAC: $(record)"
need "$VMRIG" status v

step "threads and locked memory"
qemu=$(python3 -c 'import json; print(json.load(open("state/v/state.json"))["qemu"]["pid"])')
grep -E "VmLck|VmPin" "/proc/$qemu/status"
need grep -Eq "Max locked memory +unlimited +unlimited" "/proc/$qemu/limits"
python3 - <<'EOF'
import json, os
state = json.load(open("state/v/state.json"))
for thread in state["threads"]:
    if thread["role"] == "iothread": continue
    allowed = os.sched_getaffinity(thread["tid"])
    assert allowed and allowed <= {2, 3}, (thread, allowed)
EOF

step "the guest drives the VF, and pings the PF"
cat >commands <<'EOF'
echo "card $(basename "$(readlink /sys/class/net/eth0/device/driver)") $(cat /sys/class/net/eth0/address)"
ip link set eth0 up; ip addr add 192.0.2.2/24 dev eth0
n=0; until ping -c 1 -W 2 192.0.2.1 >/dev/null || [ $n = 20 ]; do n=$((n + 1)); done
ping -c 3 -W 5 192.0.2.1 && echo "peer reached"
EOF
timeout 120 "$VMRIG" console v <commands >console.out 2>&1 &
console=$!
wait_for_line console.out "card igbvf 52:54:00:1a:b1:77" 60 $console
wait_for_line console.out "peer reached" 110 $console

step "stop"
need "$VMRIG" stop v --timeout 60
wait $console || :
expect_eq "$(driver_of "$vf")" igbvf "driver after the stop"
expect_eq "$(<"$pci/$vf/driver_override")" "(null)" "override after the stop"
expect_eq "$(record)" "$before" "the PF's record after the stop"
expect_eq "$(free_pages 1 2048)" "$free_before" "2MiB pages of node 1 after the stop"
expect_eq "$(ls "$VMRIG_STATE_DIR")" "" "state folder"
