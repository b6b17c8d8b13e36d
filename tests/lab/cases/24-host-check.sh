# limit: 150
# `host check` finds what this machine is and lacks, row by row, on its own and for a config.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state

# check STATUS [CONFIG…]: runs it and keeps the report.
check() {
  local wanted=$1 rc=0
  shift
  "$VMRIG" host check --json "$@" >report.json || rc=$?
  expect_eq "$rc" "$wanted" "exit status of host check $*"
}
# expect_rows: lines "severity name: text" on standard input; the text is a part of what was found
# or of the mend. All at once, because a Python takes its time here.
expect_rows() {
  python3 -c '
import json, sys
rows = {row["name"]: row for row in json.load(open("report.json"))["host"]}
bad = []
for line in filter(None, sys.stdin.read().split("\n")):
    head, text = line.split(": ", 1)
    severity, name = head.split(" ", 1)
    row = rows.get(name, {"severity": "missing", "found": ""})
    if row["severity"] != severity or text not in row["found"] + " | " + row.get("mend", ""):
        bad.append((line, row))
sys.exit("\n".join(f"expected {line!r}, got {row}" for line, row in bad) or 0)' || fail "rows differ"
}

step "the machine as it is"
"$VMRIG" host check || :
check 0
# The kernel tells of interrupt remapping in its log alone.
remaps=$(dmesg | grep -ciE "enabled IRQ remapping|interrupt remapping enabled") || :
expect_rows <<EOF
ok virtualisation: svm
ok /dev/kvm: opens for root
ok nested KVM: on
ok isolated CPUs: 2-3 of 0-3
warning nohz_full: kernel parameter nohz_full=2-3
warning rcu_nocbs: kernel parameter rcu_nocbs=2-3
ok interrupts: away from the isolated CPUs
ok SMT: off
ok clock source: $(</sys/devices/system/clocksource/clocksource0/current_clocksource)
ok cpuset: all CPUs, memory of node 0-1
ok 1GiB pages, node 0: $(free_pages 0 1048576) free of 1
ok 1GiB pages, node 1: $(free_pages 1 1048576) free of 1
ok 2MiB pages, node 0: $(free_pages 0 2048) free of 320
ok 2MiB pages, node 1: $(free_pages 1 2048) free of 320
ok hugetlbfs: /dev/hugepages1G (1GiB)
ok IOMMU: groups, intel_iommu=on, iommu=pt; the host's own DMA passes
$([ "$remaps" = 0 ] && echo warning || echo ok) interrupt remapping: $([ "$remaps" = 0 ] && echo off || echo on)
ok VFIO: vfio-pci
ok vhost-net: /dev/vhost-net
ok cgroup: v2
ok swap: none
ok memlock: unlimited
EOF

step "what is changed shows"
change() {
  undo lab_write "$1" "$(sed 's/.*\[\(.*\)\].*/\1/' "$1")"
  lab_write "$1" "$2"
}
thp=/sys/kernel/mm/transparent_hugepage/enabled ksm=/sys/kernel/mm/ksm/run
balancing=/proc/sys/kernel/numa_balancing
change $thp always
change $ksm 1
change $balancing 1
change /proc/irq/default_smp_affinity f
check 0
expect_rows <<EOF
warning THP: echo madvise > $thp
warning KSM: echo 2 > $ksm
warning NUMA balancing: sysctl kernel.numa_balancing=0
warning interrupts: kernel parameter irqaffinity=0-1
EOF
lab_write $thp madvise
lab_write $ksm 0
lab_write $balancing 0
check 0
expect_rows <<EOF
ok THP: madvise
ok KSM: stopped
ok NUMA balancing: off
EOF

step "a short pool is a problem, and its mend mends it"
cat >vm.json <<'EOF'
{"name": "fit", "profile": "nfv", "latency": false, "cpu": {"vcpus": 1, "emulator": "none"},
 "memory": {"size": "700MiB", "hugepages": "2MiB", "node": 1}}
EOF
check 3 vm.json
expect_rows <<'EOF'
problem 2MiB pages, node 1: 350 needed
ok 2MiB pages, node 0: free of 320
EOF
undo lab_write /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages 320
mend=$(python3 -c '
import json
print(next(r["mend"] for r in json.load(open("report.json"))["host"] if r["severity"] == "problem"))')
need bash -c "$mend"
check 0 vm.json
expect_rows <<'EOF'
ok 2MiB pages, node 1: 350 free of 350, 350 needed
EOF

step "an ordinary user may lock no memory"
setpriv --reuid=65534 --clear-groups prlimit --memlock=65536 "$VMRIG" host check --json >report.json || :
expect_rows <<'EOF'
problem memlock: --memlock=unlimited
EOF
