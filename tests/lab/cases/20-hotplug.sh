# limit: 600
# Into a running guest come and go: a VF ten times, a vCPU on its planned CPU, hugepages of its node.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state

step "a VM on node 1, with room for more"
ip link set pf1 up
create_vfs $pf1 2
vf=$(vf_of $pf1 0)
# Without one the VF's own driver makes one up at each bind.
ip link set pf1 vf 0 mac 52:54:00:1a:b1:0a
record() { ip -j link show pf1 | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["vfinfo_list"])'; }
before=$(record)
free_before=$(free_pages 1 2048)
cat >vm.json <<EOF
{"name": "v", "cpu": {"vcpus": 1, "max_vcpus": 2, "pin": ["2", "3"], "emulator": "3"},
 "memory": {"size": "256MiB", "hugepages": "2MiB", "node": 1, "max": "1GiB"},
 "boot": {"kernel": "$VMRIG_GUEST/vmlinuz", "initrd": "$VMRIG_GUEST/initrd.img",
          "cmdline": "console=ttyS0 quiet panic=-1"}}
EOF
undo "$VMRIG" recover
undo bash -c '"$0" stop --force v 2>/dev/null || :' "$VMRIG"
"$VMRIG" start vm.json --wait "vmrig guest ready" --timeout 250 || { "$VMRIG" logs v || :; fail "start"; }

# guest SECONDS CONDITION: waits inside the guest until the condition holds.
guest() {
  python3 - "$VMRIG_STATE_DIR/v/console.sock" "$@" <<'EOF'
import shlex, socket, sys, time
path, seconds, condition = sys.argv[1], int(sys.argv[2]), sys.argv[3]
console = socket.socket(socket.AF_UNIX)
console.connect(path)
token = f"t{time.monotonic_ns()}"
command = shlex.quote(f"await {seconds} {shlex.quote(condition)}")
console.sendall(f"run {token} {command}\n".encode())
console.settimeout(seconds + 30)
seen = ""
while f"\ndone {token} " not in seen.replace("\r", ""):
    part = console.recv(4096)
    if not part: sys.exit("the console has ended")
    seen += part.decode(errors="replace")
while not seen.replace("\r", "").split(f"\ndone {token} ")[1].count("\n"):
    seen += console.recv(4096).decode(errors="replace")
status = seen.replace("\r", "").split(f"\ndone {token} ")[1].split()[0]
if status != "0": sys.exit(f"in the guest, not within {seconds} s: {condition}\n{seen[-1500:]}")
EOF
}

step "a VF comes and goes ten times"
nic='{"id": "net1", "type": "vf", "pf": "pf1", "vf": 0, "mac": "52:54:00:1a:b1:77"}'
for round in 1 2 3 4 5 6 7 8 9 10; do
  echo "round $round"
  need "$VMRIG" attach v nic "$nic"
  expect_eq "$(driver_of "$vf")" vfio-pci "driver while it is attached"
  need guest 60 "grep -q 52:54:00:1a:b1:77 /sys/class/net/*/address"
  need "$VMRIG" detach v net1 --timeout 60
  expect_eq "$(driver_of "$vf")" igbvf "driver once it is detached"
  need guest 60 "! grep -q 52:54:00:1a:b1:77 /sys/class/net/*/address"
done
expect_eq "$(record)" "$before" "the PF's record after ten rounds"

step "a vCPU runs on the CPU that was kept for it"
need "$VMRIG" set v vcpus=2
need guest 60 'test $(nproc) = 2'
python3 - <<'EOF'
import json, os
state = json.load(open("state/v/state.json"))
cpus = {t["id"]: os.sched_getaffinity(t["tid"]) for t in state["threads"] if t["role"] == "vcpu"}
assert cpus == {"0": {2}, "1": {3}}, cpus
EOF

step "a DIMM of hugepages comes from the VM's node"
free_node0=$(free_pages 0 2048)
free_now=$(free_pages 1 2048)
need "$VMRIG" attach v memory '{"id": "m1", "size": "128MiB"}'
expect_eq $((free_now - $(free_pages 1 2048))) 64 "2MiB pages of node 1 that the DIMM took"
expect_eq "$(free_pages 0 2048)" "$free_node0" "2MiB pages of node 0"
need guest 60 'test $(sed -n "s/^MemTotal: *\([0-9]*\) kB/\1/p" /proc/meminfo) -gt 240000'
need "$VMRIG" detach v m1 --timeout 60
# QEMU unmaps it a moment later, from an RCU callback.
for _ in {1..100}; do [ "$(free_pages 1 2048)" = "$free_now" ] || read -rt 0.1 <> <(:) || :; done
expect_eq "$(free_pages 1 2048)" "$free_now" "2MiB pages of node 1 once the DIMM has gone"

step "more memory than the node has is refused, and nothing changes"
if "$VMRIG" attach v memory '{"id": "m2", "size": "640MiB", "hugepages": "1GiB"}' 2>refusal; then fail "it was attached"; fi
cat refusal
if "$VMRIG" attach v memory "{\"id\": \"m3\", \"size\": \"$(((free_now + 64) / 64 * 128))MiB\"}" 2>refusal; then fail "it was attached"; fi
cat refusal
expect_eq "$(free_pages 1 2048)" "$free_now" "2MiB pages of node 1 after the refusals"

step "a VF that is attached at the end is given back with the VM"
need "$VMRIG" attach v nic "$nic"
need "$VMRIG" stop v --force
expect_eq "$(driver_of "$vf")" igbvf "driver after the stop"
expect_eq "$(record)" "$before" "the PF's record after the stop"
expect_eq "$(free_pages 1 2048)" "$free_before" "2MiB pages of node 1 after the stop"
expect_eq "$(ls "$VMRIG_STATE_DIR" 2>/dev/null)" "" "state folder"
