# limit: 90
# examples/host on a real kernel: what `host check` finds wanting is well once its files are applied.
. "$LAB_DIR/inside/lib.sh"
example=$LAB_DIR/../../examples/host

rows() {
  "$VMRIG" host check --json >report.json || :
  python3 -c '
import json, sys
rows = {row["name"]: row["severity"] for row in json.load(open("report.json"))["host"]}
print(*(rows.get(name, "missing") for name in sys.argv[1:]))' "$@"
}
change() {
  undo lab_write "$1" "$(sed 's/.*\[\(.*\)\].*/\1/' "$1")"
  [ $# = 1 ] || lab_write "$1" "$2"
}

step "an untuned host"
change /sys/kernel/mm/transparent_hugepage/enabled always
change /sys/kernel/mm/ksm/run 1
change /proc/sys/kernel/numa_balancing 1
change /proc/sys/vm/swappiness 60
for pool in /sys/devices/system/node/node*/hugepages/hugepages-2048kB/nr_hugepages; do change "$pool" 0; done
expect_eq "$(rows THP KSM "NUMA balancing")" "warning warning warning" "rows of an untuned host"

step "its files, read by those that read them at a boot"
need sysctl -p "$example/sysctl.d/vmrig.conf"
expect_eq "$(cat /proc/sys/vm/swappiness)" 10 swappiness
need systemd-tmpfiles --create "$example/tmpfiles.d/vmrig.conf"
for pool in /sys/devices/system/node/node*/hugepages/hugepages-2048kB/nr_hugepages; do
  expect_eq "$(cat "$pool")" 512 "$pool"
done
expect_eq "$(rows THP KSM "NUMA balancing" "2MiB pages, node 0" "2MiB pages, node 1")" "ok ok ok ok ok" "rows of a tuned one"

step "the mount and the modules"
setting() { sed -n "s/^$1=//p" "$example/systemd/system/dev-hugepages1G.mount"; }
mkdir -p "$LAB_WORK/hugepages1G"
# The group kvm need not be there.
need mount -t "$(setting Type)" -o "$(setting Options | sed 's/,gid=kvm//')" "$(setting What)" "$LAB_WORK/hugepages1G"
undo umount "$LAB_WORK/hugepages1G"
expect_eq "$(stat -f -c %S "$LAB_WORK/hugepages1G")" 1073741824 "page size of the mount"
while read -r module; do
  case $module in '#'*) ;; *) need modprobe -n "$module" ;; esac
done <"$example/modules-load.d/vmrig.conf"
expect_eq "$(modprobe -C "$example/modprobe.d" -c | grep -c '^options kvm_.* nested=1$')" 2 "options of modprobe.d"
modinfo -p kvm_amd | grep -q '^nested:' || fail "kvm_amd has no option nested"
