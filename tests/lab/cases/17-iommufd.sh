# limit: 180
# A QEMU with iommufd gets a VF by its own node and /dev/iommu, both opened by vmrig.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state
# Debian builds no kernel with it (CONFIG_IOMMUFD is not set in 6.12 of bookworm-backports and of
# trixie, nor in sid's 7.2; amd64, cloud and rt alike): this is for one that has the module.
case $(uname -r) in 6.1.*) skip "kernel 6.1 has no iommufd" ;; esac
qemu10=$LAB_DIR/../../build/qemu10/qemu-system-x86_64
[ -x "$qemu10" ] || skip "no QEMU 10 beside the checkout"
modprobe iommufd || skip "this kernel is built without CONFIG_IOMMUFD, as all of Debian's are"
modprobe vfio-pci

step "a VF on pf0"
create_vfs $pf0 1
vf=$(vf_of $pf0 0)
cat >i.json <<EOF
{"name": "i", "qemu": "$qemu10", "memory": {"size": "64MiB"},
 "nics": [{"id": "net1", "type": "vf", "pf": "pf0", "mac": "52:54:00:1a:b0:77"}]}
EOF
undo "$VMRIG" recover
undo bash -c '"$0" vfio release "$1" 2>/dev/null || :' "$VMRIG" "$vf"
undo bash -c '"$0" stop --all --force || :' "$VMRIG"
# The kernel shows its nodes from the first device on: before, nobody can tell that it has them.
need "$VMRIG" vfio bind "$vf"
need test -d /dev/vfio/devices
need "$VMRIG" plan --argv i.json >argv
cat argv
need grep -q 'vmrig-iommufd' argv

step "start"
"$VMRIG" start --paused i.json || { "$VMRIG" logs i || :; fail "start"; }
qemu=$(python3 -c 'import json; print(json.load(open("state/i/state.json"))["qemu"]["pid"])')
ls -l "/proc/$qemu/fd" >fds
grep -E "vfio|iommu" fds
need grep -q "/dev/iommu" fds
need grep -q "/dev/vfio/devices/vfio" fds
expect_eq "$(driver_of "$vf")" vfio-pci "driver of the VF"

step "stop"
need "$VMRIG" stop --force i
expect_eq "$(driver_of "$vf")" vfio-pci "driver of the VF, which was bound before"
need "$VMRIG" vfio release "$vf"
expect_eq "$(driver_of "$vf")" igbvf "driver of the VF after"
