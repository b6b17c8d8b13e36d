# limit: 120
# A VF that is no network card is handed over and given back.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state
nvme=$(nvme_pf)

step "a VF of the NVMe, made by hand"
undo lab_write "$pci/$nvme/sriov_numvfs" 0
need "$VMRIG" sriov set "$nvme" --vfs 1
vf=$(vf_of "$nvme" 0)
need "$VMRIG" sriov list
# Without resources (nvme virt-mgmt) it does not come ready: its driver lets it go, a moment after it
# has taken it.
for ((i = 0; i < 200; i++)); do
  driver=$(driver_of "$vf")
  [ "$driver" != none ] || break
  read -rt 0.1 <> <(:) || :
done
expect_eq "$driver" none "driver of a VF without resources"

step "a VM with it"
echo "{\"name\": \"n\", \"memory\": {\"size\": \"64MiB\"}, \"vfio\": [{\"id\": \"d\", \"host\": \"$vf\"}]}" >n.json
undo "$VMRIG" recover
undo bash -c '"$0" stop --all --force || :' "$VMRIG"
"$VMRIG" start --paused n.json || { "$VMRIG" logs n || :; fail "start"; }
expect_eq "$(driver_of "$vf")" vfio-pci "driver of the VF"
expect_fails 6 "$VMRIG" sriov set "$nvme" --vfs 2
need "$VMRIG" stop --force n
expect_eq "$(driver_of "$vf")" "$driver" "driver of the VF after"
expect_eq "$(<"$pci/$vf/driver_override")" "(null)" "override of the VF after"
need "$VMRIG" sriov set "$nvme" --vfs 0
