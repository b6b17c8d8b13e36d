# Must fail: a VF stays bound to vfio-pci.
. "$LAB_DIR/inside/lib.sh"
step "leave a VF"
echo 1 >$pci/$pf0/sriov_numvfs
vf=$(vf_of $pf0 0)
lab_write "$pci/$vf/driver_override" vfio-pci
lab_write "$pci/$vf/driver/unbind" "$vf"
lab_write /sys/bus/pci/drivers_probe "$vf"
expect_eq "$(driver_of "$vf")" vfio-pci "driver"
