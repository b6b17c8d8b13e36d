# limit: 180
# Two VMs started at once with "auto" on a PF with two VFs get one each; a third is told who.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state

step "two VFs on pf0"
ip link set pf0 up
create_vfs $pf0 2
for vm in a b c; do
  cat >$vm.json <<EOF
{"name": "$vm", "memory": {"size": "64MiB"}, "nics": [{"id": "net1", "type": "vf", "pf": "pf0"}]}
EOF
done

step "two at once"
undo "$VMRIG" recover
undo bash -c '"$0" stop --all --force || :' "$VMRIG"
"$VMRIG" start --paused a.json &
first=$!
"$VMRIG" start --paused b.json || { "$VMRIG" logs b || :; fail "start b"; }
wait $first || { "$VMRIG" logs a || :; fail "start a"; }
expect_eq "$(driver_of "$(vf_of $pf0 0)") $(driver_of "$(vf_of $pf0 1)")" "vfio-pci vfio-pci" "drivers of the VFs"
claims=$(cat state/a/state.json state/b/state.json | grep -o '"pci":\["[^]]*\]' | sort -u | wc -l)
expect_eq "$claims" 2 "VFs that the two hold"

step "a third"
expect_fails 6 "$VMRIG" start --paused c.json 2>err
cat err
need grep -q 'is held by VM "a"' err
need grep -q 'is held by VM "b"' err

step "the third after the first"
need "$VMRIG" stop --force a
need "$VMRIG" start --paused c.json
need "$VMRIG" stop --all --force
expect_eq "$(driver_of "$(vf_of $pf0 0)") $(driver_of "$(vf_of $pf0 1)")" "igbvf igbvf" "drivers of the VFs"
