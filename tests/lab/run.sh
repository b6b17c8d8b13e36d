#!/bin/bash
# Runs the lab: test scripts as root on a real kernel, inside an emulated machine that has
# VFIO, IOMMU groups, SR-IOV, vhost-net, KVM, two NUMA nodes and isolated CPUs.
#   run.sh [--kernel 6.1|6.12|both] [--full] [--keep-logs DIR] [--list] [CASE...]
#   run.sh --shell [--kernel 6.1|6.12]     an interactive root shell in the machine
# CASE is the name or the beginning of a file in cases/ (01, 02-nested). README.md tells more.
# --full: a case that takes a sample of many steps takes all of them.
# Prints one line a case; exit 0 when none failed, 1 otherwise, 2 for wrong usage.
# Environment: VMRIG_LAB_CASES (another folder of cases), VMRIG (default <repo>/build/release/launcher/vmrig),
# VMRIG_CRASH (default <repo>/build/release/tests/vmrig_crash), VMRIG_GUEST.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/common.sh"
. "$here/machine.sh"

boot_limit=${VMRIG_LAB_BOOT_LIMIT:-240}  # seconds until the first case starts; ten are usual, fifty on a loaded host
grace=20        # seconds a case may exceed its limit before the machine is given up
tail_lines=25   # of the outer console, shown with a failure

usage() {
  sed -n '2,/^# --full/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

kernels=(6.1 6.12)
logs=$repo/build/lab/logs
case_dir=${VMRIG_LAB_CASES:-$here/cases}
mode=cases
full=
wanted=()
while [ $# -gt 0 ]; do
  case $1 in
  --kernel)
    case ${2:-} in 6.1 | 6.12) kernels=("$2") ;; both) kernels=(6.1 6.12) ;; *) usage ;; esac
    shift
    ;;
  --keep-logs)
    [ -n "${2:-}" ] || usage
    logs=$2
    shift
    ;;
  --full) full=yes ;;
  --shell) mode=shell ;;
  --list) mode=list ;;
  -*) usage ;;
  *) wanted+=("$1") ;;
  esac
  shift
done

select_cases() {
  cases=()
  local file name want hit
  for want in "${wanted[@]}"; do
    hit=no
    for file in "$case_dir"/"$want"*; do [ ! -f "$file" ] || hit=yes; done
    [ $hit = yes ] || die "no case \"$want\"" "$(basename "$0") --list"
  done
  for file in "$case_dir"/*.sh; do
    name=$(basename "$file" .sh)
    for want in "${wanted[@]:-}"; do
      if [[ $name.sh == "$want"* ]]; then
        cases+=("$name")
        break
      fi
    done
  done
}

# case_limit NAME: its own "# limit: SECONDS" line, or 60.
case_limit() {
  local limit
  limit=$(sed -n 's/^# limit: \([0-9]\{1,\}\).*/\1/p' "$case_dir/$1.sh" | head -1)
  echo "${limit:-60}"
}

passed=0 failed=0 skipped=0
qemu_pid=
# Ends the machine by its pid; called on every way out.
end_machine() {
  [ -n "$qemu_pid" ] || return 0
  kill -KILL "$qemu_pid" 2>/dev/null || :
  wait "$qemu_pid" 2>/dev/null || :
  qemu_pid=
}
trap end_machine EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# What the scripts inside read; their paths are the host's, because / is the host's.
write_env() {
  {
    printf 'export LAB_DIR=%q LAB_CASE_DIR=%q LAB_REPO=%q LAB_BUILD=%q LAB_KERNEL=%q LAB_MODE=%q\n' \
      "$here" "$case_dir" "$repo" "$repo/build/lab" "$2" "$mode"
    printf 'export VMRIG=%q VMRIG_CRASH=%q VMRIG_GUEST=%q VMRIG_SOURCE=%q LAB_FULL=%q\n' \
      "${VMRIG:-$repo/build/release/launcher/vmrig}" "${VMRIG_CRASH:-$repo/build/release/tests/vmrig_crash}" \
      "${VMRIG_GUEST:-$repo/build/guest}" "$repo" "$full"
    # A plain list: the initramfs reads this file too, and its shell has no arrays.
    local name list=
    for name in "${cases[@]}"; do list+="$name:$(case_limit "$name") "; done
    printf 'LAB_CASES=%q\n' "$list"
  } >"$1/env"
}

seconds_since() {
  local ms=$((($(date +%s%N) - $1) / 1000000))
  printf '%d.%d' $((ms / 1000)) $((ms % 1000 / 100))
}

show_tail() {
  [ -s "$1" ] || return 0
  echo "  --- $2 (end of $1)"
  # A trace may be longer than the tail; what it is about comes first.
  grep -m1 -E 'Kernel panic|BUG:|Oops|soft lockup|blocked for more' "$1" | tr -d '\r' | sed 's/^/  | /' || :
  tail -n "$tail_lines" "$1" | tr -d '\r' | sed 's/^/  | /'
}

# report RESULT NAME SECONDS DETAIL
report() {
  printf '%-4s  %-28s kernel %-5s %6s s  %s\n' "$1" "$2" "$kernel" "$3" "$logs/$kernel/$2.log"
  case $1 in
  PASS) passed=$((passed + 1)) ;;
  SKIP)
    skipped=$((skipped + 1))
    echo "SKIPPED: lab/$2: $4"
    ;;
  FAIL)
    failed=$((failed + 1))
    echo "  in step: ${step:-none}; $4"
    show_tail "$share/$2.log" "case log"
    show_tail "$share/console.log" "outer console"
    ;;
  esac
  [ -z "${longest:-}" ] || echo "  slow: $longest"
}

# Has the hung machine's kernel print its running and blocked tasks on the console, and QEMU the
# interrupts that wait at each CPU into monitor.log: one that waits at a halted CPU is lost.
dump_tasks() {
  local key cpu answers
  exec {answers}<>"$share/monitor.out"
  for cpu in 0 1 2 3; do printf 'cpu %s\ninfo lapic\ninfo registers\n' $cpu >&"$monitor"; done
  timeout 3 cat <&"$answers" >"$share/monitor.log" || :
  exec {answers}<&-
  # 9: everything reaches the console; l: running tasks; w: blocked ones. The monitor drops
  # keys that come faster than the guest takes them, so wait for each one's echo or a second.
  for key in 9 l w; do
    echo "sendkey alt-sysrq-$key" >&"$monitor"
    read -r -t 1 -u "$events" _ || :
  done
  tail_lines=120
}

# Follows the machine's events until it ends. Each line is "@ KIND ARG...".
follow() {
  local kind name rest wait=$boot_limit begun why=
  begun=$(date +%s%N)
  done_cases=() current='' step=boot
  while :; do
    local rc=0
    IFS=' ' read -r -t "$wait" -u "$events" kind name rest || rc=$?
    if [ $rc -gt 128 ]; then
      why="the machine made no progress for $wait s"
      dump_tasks
      break
    fi
    [ $rc = 0 ] || break # end of file
    rest=${rest%$'\r'} name=${name%$'\r'} kind=${kind%$'\r'}
    case $kind in
    @boot) say "lab: kernel $kernel up after $(seconds_since "$begun") s" ;;
    @case)
      current=$name step=start longest=
      wait=$((rest + grace))
      begun=$(date +%s%N)
      ;;
    @step) step="$name${rest:+ $rest}" ;;
    @slow) longest="$name${rest:+ $rest}" ;;
    @result) # NAME RESULT SECONDS DETAIL
      local result=${rest%% *} detail=${rest#* }
      report "$result" "$name" "${detail%% *}" "${detail#* }"
      done_cases+=("$name") current='' step='between cases' longest=
      wait=$grace
      ;;
    # All logs are written through by now: no need to wait for a power-off.
    @end) break ;;
    esac
  done
  # What has no result by now never gets one.
  local case_name
  for case_name in "${cases[@]}"; do
    case " ${done_cases[*]} " in *" $case_name "*) continue ;; esac
    if [ "$case_name" = "$current" ]; then
      report FAIL "$case_name" "$(seconds_since "$begun")" "${why:-the machine ended}"
    elif [ -z "$current" ] && [ "$step" = boot ]; then
      current=none
      report FAIL "$case_name" 0 "${why:-the machine ended} while booting"
      show_tail "$share/qemu.log" "QEMU"
    else
      failed=$((failed + 1))
      printf 'FAIL  %-28s kernel %-5s not run: %s\n' "$case_name" "$kernel" "${why:-the machine ended before}"
    fi
  done
}

run_kernel() {
  kernel=$1 share=$logs/$1
  mkdir -p "$share"
  # Two runs must not write the same logs.
  exec {share_lock}>"$share/.lock"
  flock -n "$share_lock" || die "another lab run writes to $share" "give this one --keep-logs DIR"
  rm -f "$share"/*.log "$share/env"
  write_env "$share" "$kernel"
  machine_args "$repo/build/lab/kernel-$kernel" "$share"
  local begun
  begun=$(date +%s%N)
  if [ $mode = shell ]; then
    "$qemu" "${machine_args[@]}" -serial mon:stdio -serial null {share_lock}>&- || :
  else
    rm -f "$share"/monitor.*
    mkfifo "$share/monitor.in" "$share/monitor.out"
    exec {monitor}<>"$share/monitor.in"
    # The second serial line carries events; its end of file tells that QEMU is gone.
    # QEMU dies with this script, even when that is killed without a chance to clean up.
    exec {events}< <(exec setpriv --pdeathsig KILL "$qemu" "${machine_args[@]}" -serial "file:$share/console.log" \
      -chardev file,id=events,path=/dev/stdout -serial chardev:events \
      -chardev "pipe,id=monitor,path=${share//,/,,}/monitor" -mon monitor \
      </dev/null 2>"$share/qemu.log" {share_lock}>&-)
    qemu_pid=$!
    follow
    end_machine
    exec {events}<&- {monitor}>&-
    rm -f "$share"/monitor.*
    say "lab: kernel $kernel done in $(seconds_since "$begun") s"
  fi
  rm -f "$share/env"
  exec {share_lock}>&-
}

select_cases
if [ $mode = list ]; then
  for name in "${cases[@]}"; do
    printf '%-28s %s\n' "$name" "$(sed -n '2s/^# //p' "$case_dir/$name.sh")"
  done
  exit 0
fi
[ $mode = cases ] || kernels=("${kernels[0]}")
[ ! -d "$logs" ] || logs=$(cd "$logs" && pwd)
case $logs in /*) ;; *) logs=$PWD/$logs ;; esac

qemu=${VMRIG_QEMU10:-$repo/build/qemu10/qemu-system-x86_64}
if [ ! -x "$qemu" ] || [ -z "${VMRIG_QEMU10:-}" ]; then
  "$here/../lib/qemu10.sh" || { echo "SKIPPED: lab: QEMU 10 is not to be had here"; exit 0; }
fi
rc=0
"$here/fetch.sh" "${kernels[@]}" || rc=$?
case $rc in
0) ;;
77)
  echo "SKIPPED: lab: a kernel package is not to be had here"
  exit 0
  ;;
*) die "the outer machine's kernel can't be prepared" "rm -rf $repo/build/lab, and run again" ;;
esac
[ ! -x "$here/../guest/build.sh" ] || "$here/../guest/build.sh" ||
  say "lab: no guest image; cases that boot one will fail"
for kernel in "${kernels[@]}"; do run_kernel "$kernel"; done
[ $mode = cases ] || exit 0
echo "lab: $passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
