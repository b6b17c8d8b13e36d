# limit: 300
# Hugepages by node and policy: populated, claimed, reserved and given back; the mount made and removed.
# In a mount namespace of its own: what it unmounts is there for the next case.
[ -n "${case_mounts:-}" ] || case_mounts=own exec unshare --mount bash "$0"
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state
undo "$VMRIG" recover
undo bash -c '"$0" stop --all --force || :' "$VMRIG"
gib=1048576 mib=2048
total_pages() { echo "$(</sys/devices/system/node/node"$1"/hugepages/hugepages-"$2"kB/nr_hugepages)"; }
vm() { # NAME MEMORY [MORE]
  echo "{\"name\": \"$1\", \"memory\": {\"prealloc\": true, $2}${3:-}}" >"$1.json"
}
pools() {
  local node size
  for node in 0 1; do
    for size in $gib $mib; do echo "node $node $size: $(total_pages $node $size) $(free_pages $node $size)"; done
  done
}
before=$(pools)
as_before() { expect_eq "$(pools)" "$before" "pools after $1"; }
stop() { # NAME
  need "$VMRIG" stop --force "$1"
  as_before "the end of $1"
}

step "a 1GiB page of node 1"
vm g '"size": "1GiB", "hugepages": "1GiB", "node": 1'
need "$VMRIG" start --paused g.json
expect_eq "$(free_pages 0 $gib) $(free_pages 1 $gib)" "1 0" "free 1GiB pages"
need "$VMRIG" verify g --seconds 0
stop g

step "pages of both nodes in turn, and of node 1 first"
vm i '"size": "256MiB", "hugepages": "2MiB", "policy": "interleave", "node": "0-1"'
free0=$(free_pages 0 $mib) free1=$(free_pages 1 $mib)
need "$VMRIG" start --paused i.json
expect_eq "$((free0 - $(free_pages 0 $mib))) $((free1 - $(free_pages 1 $mib)))" "64 64" "pages of each node"
need "$VMRIG" verify i --seconds 0
stop i
vm p "\"size\": \"$((2 * (free1 + 16)))MiB\", \"hugepages\": \"2MiB\", \"policy\": \"preferred\", \"node\": 1, \"backing\": \"memfd\""
need "$VMRIG" start --paused p.json
expect_eq "$((free0 - $(free_pages 0 $mib))) $(free_pages 1 $mib)" "16 0" "pages beyond the preferred node"
stop p

step "a shortage is named by node, and nothing is taken"
vm s '"size": "2GiB", "hugepages": "1GiB", "node": 1'
expect_fails 3 "$VMRIG" start s.json 2>err
cat err
need grep -qF "node 1 has 1 free 1GiB pages, 2 are needed" err
need grep -qF "echo 2 > /sys/devices/system/node/node1/hugepages/hugepages-1048576kB/nr_hugepages" err
as_before "a shortage"

step "missing pages are reserved and given back"
vm r "\"size\": \"$((2 * (free1 + 32)))MiB\", \"hugepages\": \"2MiB\", \"node\": 1, \"reserve\": true"
"$VMRIG" plan r.json | tee plan.out
need grep -q "reserve    32 x 2MiB on node 1 *give 32 back" plan.out
need "$VMRIG" start --paused r.json
expect_eq "$(total_pages 1 $mib) $(free_pages 1 $mib)" "$((free1 + 32)) 0" "pages of node 1"
stop r
vm h '"size": "2GiB", "hugepages": "1GiB", "node": 1, "reserve": true'
# A node's memory may be in pieces by now: then all that came is given back.
if "$VMRIG" start --paused h.json 2>err; then
  expect_eq "$(total_pages 1 $gib)" 2 "1GiB pages of node 1"
  stop h
else
  cat err
  need grep -qE "reserve \"1 x 1GiB on node 1\": 0 came" err
  as_before "a reservation that failed"
fi

step "pages that another VM has claimed are busy"
vm a '"size": "1GiB", "hugepages": "1GiB", "node": 1, "prealloc": false'
sed -i 's/"prealloc": true, //' a.json
need "$VMRIG" start --paused a.json
expect_fails 6 "$VMRIG" start g.json 2>err
cat err
need grep -qF 'VM "a" has claimed 1' err
stop a

step "a hugetlbfs is mounted for those who need it"
umount /dev/hugepages1G
need "$VMRIG" start --paused g.json
grep hugetlbfs /proc/self/mountinfo
need grep -q " $VMRIG_STATE_DIR/.hugetlbfs-1GiB .*pagesize=1024M" /proc/self/mountinfo
vm g0 '"size": "1GiB", "hugepages": "1GiB", "node": 0'
need "$VMRIG" start --paused g0.json
need "$VMRIG" stop --force g
need grep -q " $VMRIG_STATE_DIR/.hugetlbfs-1GiB " /proc/self/mountinfo
need "$VMRIG" stop --force g0
! grep "$VMRIG_STATE_DIR" /proc/self/mountinfo || fail "a mount is left"
[ ! -e "$VMRIG_STATE_DIR/.hugetlbfs-1GiB" ] || fail "the mount's folder is left"
as_before "mounting"

step "Ctrl-C while memory is populated"
vm c "\"size\": \"$((2 * (free1 + 64)))MiB\", \"hugepages\": \"2MiB\", \"node\": 1, \"reserve\": true"
populating() { # until more pages are taken than were added
  local deadline=$((SECONDS + 60))
  while [ "$(free_pages 1 $mib)" -ge "$free1" ]; do
    [ $SECONDS -lt $deadline ] || fail "nothing is populated"
  done
}
"$VMRIG" run c.json >run.log 2>&1 &
run=$!
undo end_process $run
populating
kill -INT $run
lab_now_ms
asked=$lab_now_ms
wait_for_exit $run 30
lab_now_ms
echo "ended $((lab_now_ms - asked)) ms after Ctrl-C"
cat run.log
as_before "Ctrl-C"

step "SIGKILL while memory is populated"
"$VMRIG" run c.json >run.log 2>&1 &
run=$!
undo end_process $run
populating
kill -KILL $run
wait_for_exit $run 30
expect_eq "$(total_pages 1 $mib)" "$((free1 + 64))" "pages of node 1 after SIGKILL"
need "$VMRIG" recover
as_before "SIGKILL and recover"
