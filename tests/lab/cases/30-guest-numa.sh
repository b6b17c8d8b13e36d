# limit: 300
# A VM larger than a node mirrors the host: the guest sees two nodes with their CPUs, memory and distance, and a VF
# behind the PCI root of its own node.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state
undo bash -c '"$0" stop --all --force || :' "$VMRIG"

step "more vCPUs than a node has: spread by itself"
cat >w.json <<'EOF'
{"name": "w", "cpu": {"vcpus": 4, "pin": "auto"}, "memory": {"size": "256MiB", "node": "auto", "prealloc": true}}
EOF
need "$VMRIG" plan w.json
need "$VMRIG" start --paused w.json
need "$VMRIG" verify w
python3 - <<'EOF'
import json
placement = json.load(open("state/w/state.json"))["placement"]
assert [(c["vcpus"], c["node"], c["bound"]) for c in placement["cells"]] == [("0-1", 0, True), ("2-3", 1, True)], placement
assert placement["vcpus"] == ["0", "1", "2", "3"], placement
EOF
need "$VMRIG" stop --force w

step "by hand, with a PCI root for a VF of node 1"
ip link set pf1 up
create_vfs $pf1 1
cat >h.json <<EOF
{"name": "h", "cpu": {"vcpus": 2, "pin": ["1", "2"], "emulator": "3"},
 "memory": {"size": "320MiB", "hugepages": "2MiB", "prealloc": true},
 "numa": [{"vcpus": "0", "memory": "192MiB", "node": 0, "distances": [10, 25]},
          {"vcpus": "1", "memory": "128MiB", "node": 1, "distances": [25, 10], "pxb": true}],
 "boot": {"kernel": "$VMRIG_GUEST/vmlinuz", "initrd": "$VMRIG_GUEST/initrd.img",
          "cmdline": "console=ttyS0 quiet panic=-1"},
 "nics": [{"id": "net1", "type": "vf", "pf": ["pf1"], "mac": "52:54:00:1a:b1:29"}]}
EOF
free0=$(free_pages 0 2048) free1=$(free_pages 1 2048)
"$VMRIG" start h.json --wait "vmrig guest ready" --timeout 200 || { "$VMRIG" logs h || :; fail "start"; }
expect_eq "$((free0 - $(free_pages 0 2048))) $((free1 - $(free_pages 1 2048)))" "96 64" "2MiB pages in use on nodes 0 and 1"
need "$VMRIG" verify h
cat >commands <<'EOF'
cd /sys/devices/system/node
echo "nodes $(cat online) cpus $(cat node0/cpulist) $(cat node1/cpulist) distances $(cat node0/distance)"
echo "memory $(( $(sed -n 's/.*MemTotal: *\([0-9]*\) kB/\1/p' node1/meminfo) > 90000 ))"
echo "card on node $(cat /sys/class/net/eth0/device/numa_node)"
EOF
timeout 60 "$VMRIG" console h <commands >answers 2>&1 &
console=$!
wait_for_line answers "nodes 0-1 cpus 0 1 distances 10 25" 30 $console
wait_for_line answers "memory 1" 10 $console
wait_for_line answers "card on node 1" 10 $console
need "$VMRIG" stop h
wait $console || :
