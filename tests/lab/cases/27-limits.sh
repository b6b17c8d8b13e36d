# limit: 240
# Limits by cgroup v2: in the kernel's files and felt, QEMU and passt in them, gone after stop, kill and recover.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state
undo "$VMRIG" recover
undo bash -c '"$0" stop --all --force || :' "$VMRIG"
cg=/sys/fs/cgroup
# All groups but the case's own, and what the root hands on.
groups() {
  find $cg -mindepth 1 -type d ! -path $cg/case ! -path "$cg/box*" -printf '%p ' | sort
  echo "hands on $(<$cg/cgroup.subtree_control)"
}
pids_of() { # VM qemu|supervisor
  python3 -c 'import json, sys; print(json.load(open(f"state/{sys.argv[1]}/state.json"))[sys.argv[2]]["pid"])' "$1" "$2"
}
is_in() { # PID GROUP
  expect_eq "$(sed -n 's/^0:://p' "/proc/$1/cgroup")" "$2" "cgroup of $1"
}

step "a loop device, and a root that does not hand on io"
modprobe -a loop tun
# A passt wants a way out.
ip link set pf0 up
ip addr add 192.0.2.1/24 dev pf0
undo ip addr del 192.0.2.1/24 dev pf0
ip route add default via 192.0.2.2 dev pf0
truncate -s 16M image
loop=$(losetup --show -f image) || fail "no loop device"
undo losetup -d "$loop"
device=$(<"/sys/class/block/${loop##*/}/dev")
echo -io >$cg/cgroup.subtree_control
undo lab_write $cg/cgroup.subtree_control +io
before=$(groups)
cat >l.json <<EOF
{"name": "l", "cpu": {"vcpus": 2, "scheduler": {"policy": "fifo", "priority": 3}, "pin": ["2", "3"], "emulator": "0-1"},
 "memory": {"size": "64MiB"},
 "limits": {"cpu_weight": 321, "cpu_max": "150%", "memory_max": "512MiB", "memory_high": "500MiB", "io_weight": 77, "pids_max": 200},
 "disks": [{"id": "d", "path": "$loop", "format": "raw", "io_max": {"read_bps": "1MiB", "write_iops": 50}}],
 "nics": [{"id": "net0", "type": "passt"}]}
EOF
cat >m.json <<EOF
{"name": "m", "memory": {"size": "64MiB"}, "limits": {"memory_max": "512MiB", "pids_max": 200}}
EOF
need "$VMRIG" plan l.json
need "$VMRIG" start --paused l.json

step "the kernel's files, and who is in the group"
group=$cg/vmrig/l
expect_eq "$(<$group/cpu.weight)" 321 cpu.weight
expect_eq "$(<$group/cpu.max)" "150000 100000" cpu.max
expect_eq "$(<$group/memory.max)" $((512 << 20)) memory.max
expect_eq "$(<$group/memory.high)" $((500 << 20)) memory.high
expect_eq "$(<$group/io.weight)" "default 77" io.weight
expect_eq "$(<$group/pids.max)" 200 pids.max
expect_eq "$(<$group/io.max)" "$device rbps=1048576 wbps=max riops=max wiops=50" io.max
qemu=$(pids_of l qemu)
is_in "$qemu" /vmrig/l
is_in "$(pids_of l supervisor)" /case
passt=$(pgrep 'passt') || fail "no passt runs"
for pid in $passt; do is_in "$pid" /vmrig/l; done
[ "$(<$group/memory.current)" -gt $((8 << 20)) ] || fail "QEMU's memory is not counted: $(<$group/memory.current)"
for task in /proc/"$qemu"/task/*; do chrt -p "${task##*/}"; done >policies
expect_eq "$(grep -c SCHED_FIFO policies)" 2 "threads with SCHED_FIFO"
need "$VMRIG" verify l --seconds 0.2
"$VMRIG" status l | tee out
grep -q "^limits .*cpu 150 %.*memory 512MiB (.* used).*200 tasks (.* used)" out || fail "status does not show the limits"
grep -q "fifo 3" out || fail "status does not show the scheduler"

step "the limit on the device is felt"
began=$(date +%s%N)
bash -c 'echo $$ >"$0/cgroup.procs" && exec dd if="$1" of=/dev/null bs=64k count=48 iflag=direct' $group "$loop"
ms=$((($(date +%s%N) - began) / 1000000))
echo "3 MiB in $ms ms at 1 MiB/s"
[ $ms -ge 1800 ] || fail "3 MiB at 1 MiB/s took $ms ms"

step "a limit that somebody changes is seen"
echo max >$group/memory.max
expect_fails 1 "$VMRIG" verify l --seconds 0.2 >out
grep "^FAIL  limits .*memory.max max" out || { cat out; fail "verify does not see it"; }
echo $((512 << 20)) >$group/memory.max

step "a second VM in the shared group; the first one's end leaves it"
need "$VMRIG" start --paused m.json
need "$VMRIG" stop --force l
[ ! -e $group ] || fail "$group is left"
expect_eq "$(<$cg/vmrig/m/pids.max)" 200 "pids.max of the second VM"
need "$VMRIG" stop --force m
expect_eq "$(groups)" "$before" "cgroups after both VMs"

step "a disk with a limit comes and goes"
need "$VMRIG" start --paused m.json
need "$VMRIG" attach m disk "{\"id\": \"e\", \"path\": \"$loop\", \"format\": \"raw\", \"io_max\": {\"read_iops\": 7}}"
expect_eq "$(<$cg/vmrig/m/io.max)" "$device rbps=max wbps=max riops=7 wiops=max" "io.max of an attached disk"

step "SIGKILL of supervisor and QEMU, then recover"
supervisor=$(pids_of m supervisor) qemu=$(pids_of m qemu)
kill -KILL "$supervisor" "$qemu"
wait_for_exit "$supervisor" 10
wait_for_exit "$qemu" 10
need "$VMRIG" recover
expect_eq "$(groups)" "$before" "cgroups after recover"
expect_eq "$(ls state)" "" "state folder after recover"

step "a group that systemd has delegated, with processes in it"
lab_write $cg/cgroup.subtree_control +io
mkdir $cg/box
undo rmdir $cg/box
python3 -c 'import os, sys; os.setxattr(sys.argv[1], "trusted.delegate", b"1")' $cg/box
inside=$(bash -c 'echo $$ >"$0/cgroup.procs" && "$1" start --paused m.json >&2 && ls "$0/vmrig" && cat "$0/vmrig/m/pids.max"' $cg/box "$VMRIG") ||
  fail "no start in the box"
echo "$inside" | grep -qx m || fail "the VM's group is not in the box: $inside"
is_in "$(pids_of m supervisor)" /box/vmrig-host
need "$VMRIG" stop --force m
expect_eq "$(find $cg/box -mindepth 1 -type d)" "" "groups in the box"
expect_eq "$(<$cg/box/cgroup.subtree_control)" "" "what the box hands on"

step "a container's cgroup namespace, whose top is no root"
cat >contained.sh <<'END_OF_SCRIPT'
set -e
mount --make-rprivate /
umount -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
grep ^0: /proc/self/cgroup
"$VMRIG" start --paused m.json
cat /sys/fs/cgroup/vmrig/m/pids.max
"$VMRIG" stop --force m
find /sys/fs/cgroup -mindepth 1 -type d
END_OF_SCRIPT
bash -c 'echo $$ >"$0/cgroup.procs" && exec unshare -C -m bash contained.sh' $cg/box >out 2>&1 || { cat out; fail "in the container"; }
cat out
expect_eq "$(head -1 out)" "0::/" "the cgroup in the container"
grep -qx 200 out || fail "no limit in the container"
expect_eq "$(tail -1 out | cut -c1-7)" stopped "the last line, when no group is left"

step "what can't be had is told before anything happens"
sed 's/"memory_max": "512MiB"/"memory_max": "32MiB"/' m.json >small.json
expect_fails 2 "$VMRIG" start --paused small.json
sed 's/"pids_max": 200/"pids_max": 8/; s/"memory": {/"cpu": {"vcpus": 9}, &/' m.json >few.json
expect_fails 2 "$VMRIG" start --paused few.json
echo '{"name": "t", "memory": {"size": "64MiB"}, "disks": [{"id": "d", "path": "image", "format": "raw", "io_max": {"read_iops": 1}}]}' >tmpfs.json
expect_fails 3 "$VMRIG" start --paused tmpfs.json
