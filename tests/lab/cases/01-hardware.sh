# limit: 60
# The machine has all that the lab promises: KVM, IOMMU, SR-IOV, NUMA, hugepages, isolation.
. "$LAB_DIR/inside/lib.sh"

step "KVM by SVM"
need grep -qw svm /proc/cpuinfo
need grep -qw pdpe1gb /proc/cpuinfo
exec {kvm}<>/dev/kvm
exec {kvm}>&-
expect_eq "$(</sys/module/kvm_amd/parameters/npt)" Y "nested paging"

step "vhost, tun and VFIO devices"
for device in /dev/vhost-net /dev/net/tun /dev/vfio/vfio; do
  exec {fd}<>"$device" || fail "$device does not open"
  exec {fd}>&-
done

step "two PFs on two nodes"
expect_eq "$(<"$pci/$pf0/numa_node")" 0 "node of pf0"
expect_eq "$(<"$pci/$pf1/numa_node")" 1 "node of pf1"
expect_eq "$(readlink -f /sys/class/net/pf0/device)" "$(readlink -f "$pci/$pf0")" "device of pf0"
expect_eq "$(readlink -f /sys/class/net/pf1/device)" "$(readlink -f "$pci/$pf1")" "device of pf1"

step "VFs come and go"
for pf in "$pf0" "$pf1"; do
  expect_eq "$(<"$pci/$pf/sriov_totalvfs")" 7 "VFs that $pf can have"
  create_vfs "$pf" 2
  first=$(vf_of "$pf" 0) second=$(vf_of "$pf" 1)
  expect_eq "$(driver_of "$first")" igbvf "driver of VF 0"
  expect_eq "$(<"$pci/$first/numa_node")" "$(<"$pci/$pf/numa_node")" "node of a VF"
  expect_ne "$(group_of "$first")" "$(group_of "$second")" "group of two VFs"
  expect_ne "$(group_of "$first")" "$(group_of "$pf")" "group of VF and PF"
done

step "a group that two devices share"
shared0=$(readlink -f /sys/class/net/shared0/device) shared1=$(readlink -f /sys/class/net/shared1/device)
expect_eq "$(group_of "${shared0##*/}")" "$(group_of "${shared1##*/}")" "group of the conventional NICs"
expect_eq "$(driver_of "${shared0##*/}")" e1000 "driver of shared0"

step "an NVMe with VFs"
nvme=$(nvme_pf)
expect_eq "$(<"$pci/$nvme/sriov_totalvfs")" 2 "VFs that the NVMe can have"
expect_eq "$(driver_of "$nvme")" nvme "driver of the NVMe"
need command -v nvme >/dev/null

step "hugepages of both sizes on both nodes"
for node in 0 1; do
  expect_eq "$(free_pages $node 1048576)" 1 "free 1GiB pages of node $node"
  expect_eq "$(free_pages $node 2048)" 320 "free 2MiB pages of node $node"
done

step "isolated CPUs"
expect_eq "$(</sys/devices/system/cpu/isolated)" 2-3 "isolated CPUs"
expect_eq "$(</sys/devices/system/node/node1/cpulist)" 2-3 "CPUs of node 1"
need grep -qE "^Cpus_allowed_list:[[:space:]]0-1$" /proc/self/status

step "cgroup v2 with every controller that vmrig uses"
for controller in cpuset cpu memory pids hugetlb; do
  need grep -qw $controller /sys/fs/cgroup/cgroup.controllers
done
