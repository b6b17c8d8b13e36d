# What cases use; every case begins with: . "$LAB_DIR/inside/lib.sh"
# A case runs as root in a folder of its own ($LAB_WORK, on tmpfs), under set -eu and
# pipefail, with output going to its log. It has to put the host back; `undo` helps.
# Machine: pf0 on node 0, pf1 on node 1 (igb, seven VFs each), shared0/shared1 (e1000, one
# IOMMU group), nvme_pf (two VFs), CPUs 2-3 isolated and on node 1.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck disable=SC2034  # for the cases
pf0=0000:21:00.0 pf1=0000:41:00.0 pci=/sys/bus/pci/devices
lab_step=start lab_step_began=0

lab_now_ms() {
  local up
  read -r up _ </proc/uptime
  up=${up/./}
  lab_now_ms=$((10#$up * 10))
}
lab_close_step() {
  lab_now_ms
  [ $lab_step_began = 0 ] || echo "$((lab_now_ms - lab_step_began)) ms: $lab_step" >>"$LAB_WORK/steps"
  lab_step_began=$lab_now_ms
}

# step TEXT: names what comes next; shown when the case fails or is slow.
step() {
  lab_close_step
  lab_step=$*
  printf '[%d.%02d] step: %s\n' $((lab_now_ms / 1000)) $((lab_now_ms % 1000 / 10)) "$*"
  [ "${LAB_EVENTS:-1}" = 1 ] || printf '@step %s\n' "$*" >&"$LAB_EVENTS"
}

fail() {
  echo "FAILED in step \"$lab_step\": $*"
  exit 1
}
# skip REASON: this kernel or machine can't run the case.
skip() {
  echo "$*" >"$LAB_WORK/skip"
  exit 77
}
# need COMMAND...: fails with the command in words when it does not succeed.
need() { "$@" || fail "needed: $*"; }
# expect_eq ACTUAL EXPECTED WHAT
expect_eq() { [ "$1" = "$2" ] || fail "$3: got \"$1\", expected \"$2\""; }
# expect_ne ACTUAL UNWANTED WHAT
expect_ne() { [ "$1" != "$2" ] || fail "$3: got \"$1\""; }
# expect_fails STATUS COMMAND...: the command has to end with exactly that exit status.
expect_fails() {
  local wanted=$1 rc=0
  shift
  "$@" || rc=$?
  expect_eq "$rc" "$wanted" "exit status of: $*"
}

# undo COMMAND...: runs at the end, last registered first, also when the case fails.
lab_undo=()
undo() { lab_undo+=("$(printf '%q ' "$@")"); }
lab_at_exit() {
  local rc=$? index
  trap - ERR
  set +e
  for ((index = ${#lab_undo[@]} - 1; index >= 0; index--)); do
    eval "${lab_undo[index]}" || { echo "undo failed: ${lab_undo[index]}"; [ $rc != 0 ] || rc=1; }
  done
  lab_close_step
  exit $rc
}
trap lab_at_exit EXIT
trap 'exit 143' TERM
trap 'echo "FAILED in step \"$lab_step\" at ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND"' ERR

# wait_for_line FILE TEXT SECONDS [PID]: until FILE holds TEXT (a fixed string), or fails;
# at once when process PID ends before. Follows the file by inotify, does not poll.
wait_for_line() {
  local file=$1 text=$2 seconds=$3 pid=${4:-} follower rc=0
  [ -e "$file" ] || : >>"$file"
  exec {lab_lines}< <(exec tail -n +1 -f ${pid:+--pid="$pid"} "$file")
  follower=$!
  # --foreground: in the case's process group, which its own time limit ends.
  timeout --foreground "$seconds" grep -m1 -F -- "$text" <&"$lab_lines" || rc=$?
  kill "$follower" 2>/dev/null || :
  exec {lab_lines}<&-
  [ $rc = 0 ] && return 0
  tail -n 30 "$file"
  [ $rc = 124 ] && fail "\"$text\" did not appear in $file in $seconds s"
  fail "\"$text\" is not in $file, and its writer has ended"
}

# wait_for_exit PID SECONDS: of any process, child or not.
wait_for_exit() {
  timeout --foreground "$2" tail --pid="$1" -s 0.1 -f /dev/null || fail "process $1 still runs after $2 s"
}

# end_process PID: kills a child that still runs and waits for it. Register it with undo right
# after starting QEMU: a device can't be unbound while QEMU holds it.
end_process() {
  kill -KILL "$1" 2>/dev/null || return 0
  wait "$1" 2>/dev/null || :
}

# driver_of BDF: name of the bound driver, or "none".
driver_of() {
  local link
  link=$(readlink "$pci/$1/driver") || { echo none; return 0; }
  echo "${link##*/}"
}
# group_of BDF: number of its IOMMU group.
group_of() {
  local link
  link=$(readlink "$pci/$1/iommu_group") || fail "$1 has no IOMMU group"
  echo "${link##*/}"
}
# create_vfs BDF N: makes N VFs of a PF, and takes them away at the end.
create_vfs() {
  expect_eq "$(<"$pci/$1/sriov_numvfs")" 0 "VFs of $1 before"
  undo lab_write "$pci/$1/sriov_numvfs" 0
  lab_write "$pci/$1/sriov_numvfs" "$2"
}
# vf_of BDF INDEX: address of a PF's VF.
vf_of() {
  local link
  link=$(readlink "$pci/$1/virtfn$2") || fail "$1 has no VF $2"
  echo "${link##*/}"
}
# bind_vfio BDF: gives the device to vfio-pci, and back to its own driver at the end.
bind_vfio() {
  undo unbind_vfio "$1"
  lab_write "$pci/$1/driver_override" vfio-pci
  [ ! -e "$pci/$1/driver" ] || lab_write "$pci/$1/driver/unbind" "$1"
  lab_write /sys/bus/pci/drivers_probe "$1"
  expect_eq "$(driver_of "$1")" vfio-pci "driver of $1"
}
unbind_vfio() {
  [ -e "$pci/$1" ] || return 0
  # A newline clears the override.
  lab_write "$pci/$1/driver_override" ""
  [ "$(driver_of "$1")" != vfio-pci ] || lab_write "$pci/$1/driver/unbind" "$1"
  [ -e "$pci/$1/driver" ] || lab_write /sys/bus/pci/drivers_probe "$1"
}
# lab_write FILE VALUE: a failed write to sysfs tells what was written where.
lab_write() { echo "$2" >"$1" || fail "can't write \"$2\" to $1"; }

# free_pages NODE SIZE_KB: free hugepages of a node's pool.
free_pages() { echo "$(</sys/devices/system/node/node"$1"/hugepages/hugepages-"$2"kB/free_hugepages)"; }
# nvme_pf: address of the NVMe's physical function.
nvme_pf() {
  local path
  for path in /sys/bus/pci/drivers/nvme/0000:*; do
    [ ! -e "$path/sriov_totalvfs" ] || { echo "${path##*/}"; return 0; }
  done
  fail "no NVMe with SR-IOV"
}
