# limit: 480
# A VM with a VF, a vhost tap, hugepages and disks that only root can read: QEMU is a user of its own without any right.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state

# rights PATH...: owner, mode and ACL of each.
rights() {
  python3 - "$@" <<'EOF'
import os, sys
for path in sys.argv[1:]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        print(path, "gone")
        continue
    try:
        acl = os.getxattr(path, "system.posix_acl_access").hex()
    except OSError:
        acl = "none"
    print(path, status.st_uid, status.st_gid, oct(status.st_mode), acl)
EOF
}
# pids NAME: of its supervisor and its QEMU.
pids() { python3 -c 'import json, sys; s = json.load(open(f"state/{sys.argv[1]}/state.json")); print(s["supervisor"]["pid"], s["qemu"]["pid"])' "$1"; }
# privileges NAME: of each of QEMU's threads, all but nothing; prints the uid.
privileges() {
  python3 - "$1" <<'EOF'
import json, os, sys
pid = json.load(open(f"state/{sys.argv[1]}/state.json"))["qemu"]["pid"]
uids = set()
for tid in os.listdir(f"/proc/{pid}/task"):
    status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/task/{tid}/status"))
    name = status["Name"].strip()
    if name.startswith("vhost-") or name.startswith("kvm-"):
        continue  # a worker of the kernel's
    for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[key], 16) == 0, (name, key, status[key])
    assert status["NoNewPrivs"].strip() == "1", (name, "NoNewPrivs")
    assert status["Seccomp"].strip() == "2", (name, status["Seccomp"])
    ids = set(status["Uid"].split()) | set(status["Gid"].split())
    assert len(ids) == 1, (name, status["Uid"], status["Gid"])
    assert set(status["Groups"].split()) <= ids, (name, status["Groups"])
    uids |= ids
assert len(uids) == 1, uids
uid = int(uids.pop())
assert uid >= 1900000000, uid
print(uid)
EOF
}

step "a VF, and images of root's alone"
ip link set pf1 up
create_vfs $pf1 2
vf=$(vf_of $pf1 0)
undo ip addr del 192.0.2.1/24 dev pf1
ip addr add 192.0.2.1/24 dev pf1
modprobe -a tun vhost_net bridge
umask 077
head -c 1048576 /dev/zero | tr '\0' b >base.img
need qemu-img create -q -f qcow2 -b base.img -F raw top.qcow2
head -c 1048576 /dev/zero | tr '\0' h >hot.img
umask 022
chmod 711 "$LAB_WORK"
before=$(rights /dev/kvm /dev/vfio/vfio /dev/net/tun /dev/vhost-net base.img top.qcow2 hot.img .)
free_before=$(free_pages 1 2048)

step "the plan tells who QEMU is, and what is opened to it"
cat >vm.json <<EOF
{"name": "v", "profile": "nfv", "latency": false, "cpu": {"vcpus": 1},
 "memory": {"size": "256MiB", "hugepages": "2MiB"},
 "boot": {"kernel": "$VMRIG_GUEST/vmlinuz", "initrd": "$VMRIG_GUEST/initrd.img",
          "cmdline": "console=ttyS0 quiet panic=-1"},
 "disks": [{"id": "d0", "path": "top.qcow2", "cache": "writeback"}],
 "nics": [{"id": "net1", "type": "vf", "pf": ["pf1"], "vf": 0, "mac": "52:54:00:1a:b4:01"},
          {"id": "net0", "type": "tap", "bridge": {"name": "vbr0", "create": true, "address": "198.51.100.1/24"},
           "queues": 1, "vhost": true, "mac": "52:54:00:1a:b4:02"}]}
EOF
need "$VMRIG" plan vm.json | tee plan.txt
grep -q "QEMU .*user 19000.* (the VM's own), no capabilities, sandboxed" plan.txt || fail "the plan does not say who QEMU is"
grep -q "access .*the VFIO group of $vf for user 19000" plan.txt || fail "the plan does not open the group's node"

step "start, until the guest greets"
undo "$VMRIG" recover
undo bash -c '"$0" stop --force v 2>/dev/null || :' "$VMRIG"
"$VMRIG" start vm.json --wait "vmrig guest ready" --timeout 250 || { "$VMRIG" logs v || :; fail "start"; }
read -r supervisor qemu < <(pids v)

step "no capabilities, no new privileges, a filter, a uid of its own: every thread"
grep -E "^(Name|Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)" "/proc/$qemu/status"
uid=$(privileges v)
"$VMRIG" verify v --seconds 0 --json >verify.json || :
python3 - <<'EOF'
import json
rows = {row["subject"]: row for row in json.load(open("verify.json"))}
for subject in ("privileges", "memory"):
    print(rows[subject])
    assert rows[subject]["pass"], rows[subject]
EOF

step "its fds, each with what it is for"
cat >fds.py <<'EOF'
import os, re, sys
pid, group, work = sys.argv[1:4]
known = [
    (r"/dev/null$", "standard input"),
    (rf"{work}/state/v/qemu\.log$", "its log, opened by vmrig for append"),
    (r"socket:\[", "monitor and console: listening, and their clients"),
    (r"anon_inode:(\[event(fd|poll)\]|\[signalfd\])", "QEMU's own events"),
    (r"anon_inode:\[io_uring\]", "QEMU's event loop"),
    (r"anon_inode:kvm-", "made by KVM for this VM"),
    (r"anon_inode:\[vfio-device\]", "the VF"),
    (r"/dev/kvm$", "KVM"),
    (r"/dev/vfio/vfio$", "the IOMMU container"),
    (rf"/dev/vfio/{group}$", "the VF's group, by an entry in the node's ACL"),
    (r"/dev/net/tun$", "the tap, opened by vmrig"),
    (r"/dev/vhost-net$", "vhost, opened by vmrig"),
    (r"/dev/hugepages/#\d+ \(deleted\)$", "the guest's hugepages, a nameless file of vmrig's"),
    (rf"{work}/top\.qcow2$", "the disk, opened by vmrig"),
    (rf"{work}/base\.img$", "what the disk stands on, opened by vmrig"),
]
unexplained = []
for fd in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
    try:
        target = os.readlink(f"/proc/{pid}/fd/{fd}")
    except FileNotFoundError:
        continue
    mode = int(next(l.split()[1] for l in open(f"/proc/{pid}/fdinfo/{fd}") if l.startswith("flags")), 8) & 3
    why = next((text for pattern, text in known if re.match(pattern, target)), None)
    print(f"{fd:>4} {'ro wo rw'.split()[mode]} {target:50} {why or 'UNEXPLAINED'}")
    if why is None:
        unexplained.append(target)
    if target.endswith("/base.img"):
        assert mode == 0, "what the disk stands on can be written"
assert not unexplained, unexplained
EOF
need python3 fds.py "$qemu" "$(group_of "$vf")" "$LAB_WORK"

step "what it may not open by name"
as_qemu() { python3 - "$uid" "$@" <<'EOF'
import os, sys
os.setgroups([])
os.setresgid(*[int(sys.argv[1])] * 3)
os.setresuid(*[int(sys.argv[1])] * 3)
for path in sys.argv[2:]:
    try:
        os.open(path, os.O_RDONLY)
    except PermissionError:
        continue
    sys.exit(f"{path} opens")
EOF
}
need as_qemu "$LAB_WORK/base.img" "$LAB_WORK/top.qcow2" "$LAB_WORK/state/v/qmp.sock" "$LAB_WORK/state/v/state.json" \
  /etc/shadow
expect_eq "$(rights base.img top.qcow2)" "$(grep -E "^(base.img|top.qcow2) " <<<"$before")" "the images' rights while the VM runs"

step "the guest drives the VF and the tap, and reads and writes its disk"
cat >commands <<'EOF'
at() { for card in /sys/class/net/*; do grep -q "$1" "$card/address" && basename "$card"; done; }
vf=$(at 52:54:00:1a:b4:01); tap=$(at 52:54:00:1a:b4:02)
echo "card $(basename "$(readlink /sys/class/net/$vf/device/driver)")"
ip link set "$vf" up; ip addr add 192.0.2.2/24 dev "$vf"
ip link set "$tap" up; ip addr add 198.51.100.2/24 dev "$tap"
echo "disk $(dd if=/dev/vda bs=4 count=1 2>/dev/null)"
printf wwww | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null; echo "now $(dd if=/dev/vda bs=4 count=1 2>/dev/null)"
n=0; until ping -c 1 -W 2 198.51.100.1 >/dev/null || [ $n = 20 ]; do n=$((n + 1)); done
ping -c 3 -W 5 198.51.100.1 >/dev/null && echo "bridge reached"
n=0; until ping -c 1 -W 2 192.0.2.1 >/dev/null || [ $n = 20 ]; do n=$((n + 1)); done
ping -c 3 -W 5 192.0.2.1 >/dev/null && echo "PF reached"
EOF
timeout 200 "$VMRIG" console v <commands >console.out 2>&1 &
console=$!
wait_for_line console.out "card igbvf" 60 $console
wait_for_line console.out "disk bbbb" 60 $console
wait_for_line console.out "now wwww" 60 $console
wait_for_line console.out "bridge reached" 110 $console
wait_for_line console.out "PF reached" 110 $console

step "a VF and a disk come and go"
hot_vf=$(vf_of $pf1 1)
need "$VMRIG" attach v nic '{"id": "net2", "type": "vf", "pf": ["pf1"], "vf": 1, "mac": "52:54:00:1a:b4:03"}'
node=/dev/vfio/$(group_of "$hot_vf")
case $(rights "$node") in *none) fail "no ACL on $node" ;; esac
need "$VMRIG" attach v disk '{"id": "hot", "path": "'"$LAB_WORK"'/hot.img", "format": "raw"}'
expect_eq "$(privileges v)" "$uid" "the user after hotplug"
need "$VMRIG" detach v hot --timeout 60
need "$VMRIG" detach v net2 --timeout 60
need python3 fds.py "$qemu" "$(group_of "$vf")" "$LAB_WORK"
[ ! -e "$node" ] || fail "$node is there after the unplug"
expect_eq "$(driver_of "$hot_vf")" igbvf "driver after the unplug"

step "stop: all is as before"
need "$VMRIG" stop v --timeout 60
wait $console || :
expect_eq "$(rights /dev/kvm /dev/vfio/vfio /dev/net/tun /dev/vhost-net base.img top.qcow2 hot.img .)" "$before" "rights after the stop"
expect_eq "$(driver_of "$vf")" igbvf "driver after the stop"
expect_eq "$(free_pages 1 2048)" "$free_before" "2MiB pages of node 1 after the stop"
expect_eq "$(ls "$VMRIG_STATE_DIR")" "" "state folder"
head -c 4 base.img | grep -q bbbb || fail "the guest wrote to what its disk stands on"

step "killed: recover closes what was opened"
"$VMRIG" start --paused vm.json || { "$VMRIG" logs v || :; fail "start"; }
expect_ne "$(rights /dev/kvm /dev/vfio/vfio "/dev/vfio/$(group_of "$vf")")" \
  "$(rights /dev/kvm /dev/vfio/vfio; echo "/dev/vfio/$(group_of "$vf") gone")" "rights while it runs"
expect_eq "$(privileges v)" "$uid" "the user of the same VM, started again"
read -r supervisor qemu < <(pids v)
kill -KILL "$supervisor" "$qemu"
wait_for_exit "$supervisor" 30
wait_for_exit "$qemu" 30
need "$VMRIG" recover
expect_eq "$(rights /dev/kvm /dev/vfio/vfio /dev/net/tun /dev/vhost-net base.img top.qcow2 hot.img .)" "$before" "rights after recover"
expect_eq "$(driver_of "$vf")" igbvf "driver after recover"
