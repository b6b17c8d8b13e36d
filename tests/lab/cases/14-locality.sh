# limit: 120
# With a VF of node 1 and "node": "auto", CPUs and memory come from node 1; so for node 0.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state
for node in 0 1; do
  name=pf$node pf=$pf0
  [ $node = 0 ] || pf=$pf1
  step "a VF of node $node"
  ip link set $name up
  create_vfs "$pf" 1
  cat >l$node.json <<EOF
{"name": "l$node", "profile": "nfv", "latency": false, "cpu": {"vcpus": 1, "emulator": "none"},
 "memory": {"size": "64MiB", "hugepages": "2MiB"}, "nics": [{"id": "net1", "type": "vf", "pf": ["pf0", "pf1"]}]}
EOF
  undo bash -c '"$0" stop --all --force || :' "$VMRIG"
  free_before=$(free_pages $node 2048)
  need "$VMRIG" start --paused l$node.json
  expect_eq $((free_before - $(free_pages $node 2048))) 32 "2MiB pages of node $node in use"
  python3 - $node <<'EOF'
import json, sys
node = int(sys.argv[1])
state = json.load(open(f"state/l{node}/state.json"))
vcpu = [t["cpus"] for t in state["threads"] if t["role"] == "vcpu"]
assert vcpu and all(int(c) // 2 == node for c in vcpu), vcpu
EOF
  need "$VMRIG" stop --force l$node
  lab_write "$pci/$pf/sriov_numvfs" 0
done
