# limit: 90
# examples/network.json starts where the kernel has all that it wants.
. "$LAB_DIR/inside/lib.sh"

step "modules"
for module in tun vhost_net bridge 8021q macvtap ifb act_mirred cls_u32 sch_ingress sch_tbf veth; do
  need modprobe $module
done

step "every example"
timeout 80 "$LAB_REPO/tests/examples.sh" >out 2>&1 || { cat out; fail "tests/examples.sh"; }
cat out
if grep SKIPPED out; then fail "it was not started"; fi
