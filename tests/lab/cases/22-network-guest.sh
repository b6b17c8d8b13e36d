# limit: 420
# A guest on a bridge that filters VLANs by a vhost tap of two queues, and on a PF by a macvtap; killed
# or stopped, it leaves the network as it was.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state

# What `ip`, `bridge` and `tc` tell, without what moves by itself.
network_now() {
  python3 - <<'EOF'
import json, subprocess
def ask(*words):
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout or "[]")
def clean(value):
    noise = ("timer", "life_time", "refcnt", "ifindex", "operstate", "flags", "qdisc")
    if isinstance(value, dict):
        return {k: clean(v) for k, v in value.items() if not any(n in k for n in noise)}
    if isinstance(value, list):
        return [clean(v) for v in value if not (isinstance(v, dict) and v.get("scope") == "link")]
    return value
print(json.dumps([clean(ask("ip", "-j", "-d", "addr")), clean(ask("bridge", "-j", "vlan")),
                  [q for q in clean(ask("tc", "-j", "qdisc")) if q.get("handle") != "0:"],
                  ask("nft", "-j", "list", "ruleset")], sort_keys=True))
EOF
}

step "three peers, each in a namespace of its own"
ip link set pf1 up
create_vfs $pf1 1
# Without one the VF's driver makes one up; it learns of this one when it is bound again, and a VF that
# sends from another is not let through.
vf=$(vf_of $pf1 0)
ip link set pf1 vf 0 mac 52:54:00:1a:b1:0b
lab_write /sys/bus/pci/drivers/igbvf/unbind "$vf"
lab_write /sys/bus/pci/drivers/igbvf/bind "$vf"
card=$(ls "$pci/$vf/net")
undo umount /run/netns
for vlan in 10 20; do
  ip netns add peer$vlan
  undo ip netns del peer$vlan
  ip link add p$vlan type veth peer name eth0 netns peer$vlan
  undo ip link del p$vlan
  ip link set p$vlan up
  ip -n peer$vlan link set eth0 up
  ip -n peer$vlan addr add 192.0.2.$vlan/24 dev eth0
done
# On the wire of pf1, beside the macvtap.
ip netns add wire
undo ip netns del wire
ip link set "$card" netns wire
undo ip -n wire link set "$card" netns 1
ip -n wire link set "$card" up
ip -n wire addr add 198.51.100.9/24 dev "$card"
modprobe -a tun vhost_net bridge macvtap nf_tables
before=$(network_now)

step "start, until the guest greets"
cat >vm.json <<EOF
{"name": "v", "cpu": {"vcpus": 2, "pin": ["2", "2"], "emulator": "3", "exclusive": false},
 "memory": {"size": "256MiB"},
 "boot": {"kernel": "$VMRIG_GUEST/vmlinuz", "initrd": "$VMRIG_GUEST/initrd.img",
          "cmdline": "console=ttyS0 quiet panic=-1"},
 "nics": [{"id": "net0", "type": "tap", "bridge": {"name": "vbr0", "create": true, "vlan_filtering": true},
           "vlan": 10, "queues": 2, "vhost": true, "mac": "52:54:00:1a:b2:01"},
          {"id": "net1", "type": "macvtap", "parent": "pf1", "mode": "bridge", "vhost": true,
           "mac": "52:54:00:1a:b2:02"}]}
EOF
undo "$VMRIG" recover
undo bash -c '"$0" stop --force v 2>/dev/null || :' "$VMRIG"
need "$VMRIG" plan vm.json
"$VMRIG" start vm.json --wait "vmrig guest ready" --timeout 250 || { "$VMRIG" logs v || :; fail "start"; }
need "$VMRIG" status v

step "vhost workers are on the emulator's CPU"
python3 - <<'EOF'
import json, os
state = json.load(open("state/v/state.json"))
workers = [t for t in state["threads"] if t["role"] == "vhost"]
assert len(workers) == 3, state["threads"]
for worker in workers:
    assert os.sched_getaffinity(worker["tid"]) == {3}, worker
    print(worker, open(f"/proc/{worker['tid']}/comm").read().strip())
EOF

step "the guest reaches its VLAN, not the other"
for vlan in 10 20; do
  need ip link set p$vlan master vbr0
  need bridge vlan add dev p$vlan vid $vlan pvid untagged
  need bridge vlan del dev p$vlan vid 1
done
cat >receive.py <<'EOF'
import socket, sys
server = socket.create_server(("", 5001))
print("listening", flush=True)
peer, _ = server.accept()
count = 0
while data := peer.recv(65536):
    count += len(data)
print("received", count, flush=True)
EOF
for peer in peer10 wire; do
  ip netns exec $peer python3 receive.py >$peer.out 2>&1 &
  receiver=$!
  undo end_process $receiver
  wait_for_line $peer.out listening 30 $receiver
done
cat >commands <<'EOF'
at() { for card in /sys/class/net/*; do grep -q "$1" "$card/address" && basename "$card"; done; }
tap=$(at 52:54:00:1a:b2:01); vtap=$(at 52:54:00:1a:b2:02)
ip link set "$tap" up; ip addr add 192.0.2.2/24 dev "$tap"
echo "queues $(ls -d /sys/class/net/$tap/queues/rx-* | wc -l)"
n=0; until ping -c 1 -W 2 192.0.2.10 >/dev/null || [ $n = 20 ]; do n=$((n + 1)); done
ping -c 3 -W 5 192.0.2.10 >/dev/null && echo "same VLAN reached"
ping -c 3 -W 2 192.0.2.20 >/dev/null || echo "other VLAN not reached"
head -c 1000000 /dev/zero | nc 192.0.2.10 5001 &
ip link set "$vtap" up; ip addr add 198.51.100.2/24 dev "$vtap"
n=0; until ping -c 1 -W 2 198.51.100.9 >/dev/null || [ $n = 20 ]; do n=$((n + 1)); done
ping -c 3 -W 5 198.51.100.9 >/dev/null && echo "wire reached"
head -c 1000000 /dev/zero | nc 198.51.100.9 5001 &
EOF
timeout 250 "$VMRIG" console v <commands >console.out 2>&1 &
console=$!
wait_for_line console.out "queues 2" 60 $console
wait_for_line console.out "same VLAN reached" 110 $console
wait_for_line console.out "other VLAN not reached" 60 $console
wait_for_line peer10.out "received 1000000" 90
wait_for_line console.out "wire reached" 110 $console
wait_for_line wire.out "received 1000000" 90
# It is the VLAN that keeps the packet away: with it, the same peer answers.
ip -n peer20 neigh | grep -q 52:54:00:1a:b2:01 && fail "the other VLAN's peer has seen the guest"

step "stop: nothing is left"
# A bridge that holds what others have put into it would stay.
for vlan in 10 20; do ip link set p$vlan nomaster; done
need "$VMRIG" stop v --timeout 60
wait $console || :
expect_eq "$(network_now)" "$before" "the network after the stop"

step "killed: recover leaves nothing"
"$VMRIG" start --paused vm.json || { "$VMRIG" logs v || :; fail "start"; }
expect_ne "$(network_now)" "$before" "the network while it runs"
read -r supervisor qemu < <(python3 -c 'import json; s = json.load(open("state/v/state.json")); print(s["supervisor"]["pid"], s["qemu"]["pid"])')
kill -KILL "$supervisor" "$qemu"
wait_for_exit "$supervisor" 30
wait_for_exit "$qemu" 30
need "$VMRIG" recover
expect_eq "$(network_now)" "$before" "the network after recover"
