# limit: 1200
# SIGKILL of the supervisor at every step on cgroups: recover puts the hierarchy back.
. "$LAB_DIR/inside/lib.sh"
. "$LAB_DIR/inside/crash.sh"
cg=/sys/fs/cgroup
host_now() {
  find $cg -mindepth 1 -type d ! -path $cg/case -printf '%p ' | sort
  echo "hands on $(<$cg/cgroup.subtree_control)"
}
modprobe loop
truncate -s 1M image
loop=$(losetup --show -f image) || fail "no loop device"
undo losetup -d "$loop"
echo "-io -pids" >$cg/cgroup.subtree_control
undo lab_write $cg/cgroup.subtree_control "+io +pids"
cat >limits.json <<EOF
{"name": "k", "memory": {"size": "64MiB"},
 "limits": {"cpu_weight": 50, "memory_max": "512MiB", "pids_max": 100},
 "disks": [{"id": "d", "path": "$loop", "format": "raw", "io_max": {"read_iops": 100}}]}
EOF
need "$VMRIG" plan limits.json

step "a VM's life"
matrix limits.json 20

step "recover itself"
recover_matrix limits.json 8
