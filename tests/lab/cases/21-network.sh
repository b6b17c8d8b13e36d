# limit: 400
# Every action on the network, and NICs of every kind in a paused VM, on a kernel that has VLANs and vhost-net.
. "$LAB_DIR/inside/lib.sh"

step "modules"
for module in tun vhost_net bridge 8021q macvtap ifb act_mirred cls_u32 sch_ingress sch_tbf veth; do
  need modprobe $module
done

step "every action on the network, and NICs of every kind"
export VMRIG_FULL_KERNEL=1
tests=$LAB_REPO/build/release/tests/integration_tests
timeout 340 "$tests" --no-colors=1 --source-file="*host_network.cpp,*nic_kinds.cpp" >out 2>&1 || { cat out; fail "integration_tests"; }
cat out
grep -q "13 passed | 0 failed" out || fail "not all cases ran"
if grep SKIPPED out; then fail "a case was skipped"; fi
