# limit: 180
# vfio bind and release by hand, a whole group too; VFs that a VM makes go with the last VM.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state
shared0=$(basename "$(readlink -f /sys/class/net/shared0/device)")
shared1=$(basename "$(readlink -f /sys/class/net/shared1/device)")

step "a VF"
create_vfs $pf0 1
vf=$(vf_of $pf0 0)
undo bash -c '"$0" vfio release "$1" 2>/dev/null || :' "$VMRIG" "$vf"
need "$VMRIG" vfio list
need "$VMRIG" vfio bind "$vf"
expect_eq "$(driver_of "$vf")" vfio-pci "driver of the VF"
need "$VMRIG" vfio bind "$vf"
need "$VMRIG" vfio release "$vf"
expect_eq "$(driver_of "$vf")" igbvf "driver of the VF after"
expect_fails 1 "$VMRIG" vfio release "$vf"

step "a group"
undo bash -c '"$0" vfio release "$1" "$2" 2>/dev/null || :' "$VMRIG" "$shared0" "$shared1"
expect_fails 3 "$VMRIG" vfio bind "$shared0"
need "$VMRIG" vfio bind "$shared0" --whole-group
expect_eq "$(driver_of "$shared0") $(driver_of "$shared1")" "vfio-pci vfio-pci" "drivers of the group"
need "$VMRIG" vfio release "$shared0" "$shared1"
expect_eq "$(driver_of "$shared0") $(driver_of "$shared1")" "e1000 e1000" "drivers of the group after"
# A device that comes back to its driver gets a name of the kernel's.
for name in shared0 shared1; do
  now=$(ls "$pci/${!name}/net")
  [ "$now" = $name ] || ip link set "$now" name $name
done

step "VFs that a VM makes"
lab_write "$pci/$pf0/sriov_numvfs" 0
ip link set pf0 up
undo bash -c '"$0" stop --all --force || :' "$VMRIG"
for vm in a b; do
  echo "{\"name\": \"$vm\", \"memory\": {\"size\": \"64MiB\"}, \"nics\": [{\"id\": \"n\", \"type\": \"vf\", \"pf\": \"pf0\", \"create\": 2}]}" >$vm.json
  need "$VMRIG" start --paused $vm.json
done
expect_eq "$(<"$pci/$pf0/sriov_numvfs")" 2 "VFs of pf0"
need "$VMRIG" stop --force a
expect_eq "$(<"$pci/$pf0/sriov_numvfs")" 2 "VFs of pf0 while b has one"
need "$VMRIG" stop --force b
expect_eq "$(<"$pci/$pf0/sriov_numvfs")" 0 "VFs of pf0 after the last"

step "VFs of VMs that end at the same moment"
for vm in a b; do need "$VMRIG" start --paused $vm.json; done
expect_eq "$(<"$pci/$pf0/sriov_numvfs")" 2 "VFs of pf0"
need "$VMRIG" stop --all --force
expect_eq "$(<"$pci/$pf0/sriov_numvfs")" 0 "VFs of pf0 after both"
