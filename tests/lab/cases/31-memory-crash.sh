# limit: 1200
# SIGKILL of the supervisor at every step of reserving, mounting and populating: recover puts all back.
# In a mount namespace of its own: what it unmounts is there for the next case.
[ -n "${case_mounts:-}" ] || case_mounts=own exec unshare --mount bash "$0"
. "$LAB_DIR/inside/lib.sh"
. "$LAB_DIR/inside/crash.sh"
host_now() {
  local pool
  for pool in /sys/devices/system/node/node*/hugepages/*; do
    echo "$pool $(<"$pool/nr_hugepages") $(<"$pool/free_hugepages") $(<"$pool/surplus_hugepages")"
  done
  grep hugetlbfs /proc/self/mountinfo || :
  find "$VMRIG_STATE_DIR" -name '.hugetlbfs*' 2>/dev/null || :
}
free1=$(free_pages 1 2048)
umount /dev/hugepages
echo "{\"name\": \"k\", \"memory\": {\"size\": \"$((2 * free1 + 64))MiB\", \"hugepages\": \"2MiB\", \"node\": 1,
  \"prealloc\": true, \"reserve\": true}}" >k.json

step "a VM that reserves pages, on a mount of vmrig's own"
matrix k.json 14

step "recover itself"
recover_matrix k.json 8
