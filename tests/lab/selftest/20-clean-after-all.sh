# Must pass: what the cases before have left is put back.
. "$LAB_DIR/inside/lib.sh"
step "look around"
expect_eq "$(free_pages 0 2048)" 320 "free pages"
expect_eq "$(<$pci/$pf0/sriov_numvfs)" 0 "VFs"
expect_eq "$(</sys/class/net/pf0/mtu)" 1500 "MTU of pf0"
[ ! -e /sys/class/net/labdummy ] || fail "the link is still there"
[ ! -e /sys/fs/cgroup/labgroup ] || fail "the cgroup is still there"
undo ip link del labdummy
ip link add labdummy type dummy
