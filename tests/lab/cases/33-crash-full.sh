# limit: 5400
# SIGKILL of supervisor, QEMU or both at every step of a whole NFV life, hotplug and unplug in it: recover puts all back.
# In a mount namespace of its own: what it unmounts is there for the next case.
[ -n "${case_mounts:-}" ] || case_mounts=own exec unshare --mount bash "$0"
. "$LAB_DIR/inside/lib.sh"
. "$LAB_DIR/inside/crash.sh"
shopt -s extglob nullglob
cg=/sys/fs/cgroup
# Names, addresses, VFs, pools, mounts, groups, and who may use the nodes; what changes by itself is left out.
host_now() {
  local link vf pool of_vfs='^$'
  for link in "$pci"/{$pf0,$pf1}/virtfn*; do
    vf=$(readlink "$link")
    # A netdev that its driver makes anew has another index, and the address that the PF has set by now.
    of_vfs+="|parentdev ${vf##*/} "
    echo "${vf##*/} driver $(driver_of "${vf##*/}") override $(<"$link/driver_override")"
  done
  { ip -d -o link | grep -vE "$of_vfs"; ip -o -4 addr; bridge vlan; tc qdisc; } |
    sed -E 's/NO-CARRIER,//; s/,LOWER_UP//; s/ state [A-Z]+//; s/ (bridge|gc|hello|tcn|topology_change)_?timer +[0-9.]+//g'
  for pool in /sys/devices/system/node/node*/hugepages/*; do
    echo "$pool $(<"$pool/nr_hugepages") $(<"$pool/free_hugepages") $(<"$pool/surplus_hugepages")"
  done
  grep hugetlbfs /proc/self/mountinfo || :
  find "$VMRIG_STATE_DIR" -name '.hugetlbfs*' 2>/dev/null || :
  find $cg -mindepth 1 -type d ! -path $cg/case -printf '%p ' | sort
  echo "hands on $(<$cg/cgroup.subtree_control)"
  # An ACL is a + behind the mode. A node that the kernel has made is as it makes each.
  stat -c '%n %u:%g %a' image hot.img /dev/kvm /dev/net/tun /dev/vhost-net /dev/vfio/vfio
  ls -ln image hot.img /dev/kvm /dev/net/tun /dev/vhost-net | cut -c1-11
}

step "what the VM will find"
modprobe -a tun vhost_net bridge macvtap ifb act_mirred cls_u32 sch_ingress sch_tbf loop vfio-pci
ip link set pf0 up
ip link set pf1 up
create_vfs $pf0 2
ip link set pf0 vf 0 mac 52:54:00:1a:b0:0a
ip link set pf0 vf 1 mac 52:54:00:1a:b0:0b
truncate -s 1M image hot.img
loop=$(losetup --show -f image) || fail "no loop device"
undo losetup -d "$loop"
echo "-io -pids" >$cg/cgroup.subtree_control
undo lab_write $cg/cgroup.subtree_control "+io +pids"
free1=$(free_pages 1 2048)
umount /dev/hugepages
# On pc, a reset gives a slot free that no guest does.
cat >full.json <<EOF
{"name": "k", "machine": {"type": "pc"},
 "memory": {"size": "$((2 * free1 + 64))MiB", "hugepages": "2MiB", "node": 1, "prealloc": true, "reserve": true},
 "limits": {"cpu_weight": 50, "pids_max": 100},
 "disks": [{"id": "d", "path": "$loop", "format": "raw", "io_max": {"read_iops": 100}}],
 "nics": [
  {"id": "net0", "type": "vf", "pf": "pf0", "vf": 0, "mac": "52:54:00:1a:b0:77", "vlan": 9, "trust": true},
  {"id": "net1", "type": "macvtap", "parent": "pf1"},
  {"id": "net2", "type": "tap", "bridge": {"name": "kbr0", "create": true, "address": "192.0.2.1/24"},
   "rate": {"egress": "10Mbit"}}]}
EOF
need "$VMRIG" plan full.json

step "a life"
plug=(nic '{"id": "net3", "type": "vf", "pf": "pf0", "vf": 1, "mac": "52:54:00:1a:b0:78"}'
      nic '{"id": "net4", "type": "tap", "bridge": {"name": "kbr0", "create": true, "address": "192.0.2.1/24"}}'
      disk "{\"id\": \"hot\", \"path\": \"$PWD/hot.img\", \"format\": \"raw\"}")
unplug=(net3 net4)
life_matrix full.json 150
