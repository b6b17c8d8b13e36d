# Runs cases one after another: runner.sh NAME:SECONDS... Reports to $LAB_EVENTS (a
# descriptor; standard output without it), logs to /run/lab/share/NAME.log. A case fails
# when its script fails, when its time is up, and when it leaves the host changed.
. "$LAB_DIR/inside/state.sh"
share=/run/lab/share
baseline=/run/lab/before after=/run/lab/after
group=/sys/fs/cgroup/case
events=${LAB_EVENTS:-1}
event() { printf '%s\n' "$*" >&"$events"; }
settle_seconds=3   # the kernel takes namespaces and devices away behind its callers' backs

# now_ms: milliseconds since boot, without a fork.
now_ms() {
  local up
  read -r up _ </proc/uptime
  up=${up/./}
  now_ms=$((10#$up * 10))
}

# end_case_processes: 0 when none was left; kills by group, so that none can escape by forking.
end_case_processes() {
  local pids
  pids=$(<"$group/cgroup.procs")
  [ -n "$pids" ] || return 0
  for pid in $pids; do
    printf 'left running: %s %s\n' "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline")"
  done
  echo 1 >"$group/cgroup.kill"
  return 1
}

# state_differs: prints the difference once it has had time to settle.
state_differs() {
  local deadline
  now_ms
  deadline=$((now_ms + settle_seconds * 1000))
  while :; do
    state_snapshot >"$after"
    cmp -s "$baseline" "$after" && return 1
    now_ms
    [ $now_ms -lt $deadline ] || break
  done
  diff "$baseline" "$after" | sed -n 's/^</before:/p; s/^>/after: /p'
  return 0
}

run_case() {
  local name=$1 limit=$2 log=$share/$1.log begun rc result=PASS detail='' kernel_lines
  work=/run/lab/scratch/$name
  mkdir -p "$work/tmp" "$group"
  # What a passed case left is what the next one finds.
  [ -e "$baseline" ] || state_snapshot >"$baseline"
  kernel_lines=$(dmesg | wc -l)
  event "@case $name $limit"
  now_ms
  begun=$now_ms
  (
    echo "$BASHPID" >"$group/cgroup.procs"
    export LAB_CASE=$name LAB_WORK=$work LAB_EVENTS=$events TMPDIR=$work/tmp
    cd "$work" && exec timeout --kill-after=10 "$limit" bash "$LAB_CASE_DIR/$name.sh"
  ) >"$log" 2>&1 </dev/null
  rc=$?
  now_ms
  case $rc in
  0) ;;
  77) result=SKIP detail=$(<"$work/skip") ;;
  124 | 137) result=FAIL detail="time is up ($limit s)" ;;
  *) result=FAIL detail="exit status $rc" ;;
  esac
  {
    end_case_processes || { result=FAIL detail+="${detail:+, }processes left running"; }
    if state_differs; then
      result=FAIL detail+="${detail:+, }the host is not as before"
    fi
    if [ $result = FAIL ]; then
      state_restore "$baseline"
      state_differs && echo "the above could not be put back"
      # Judge the next case by what it finds, not by this one's damage.
      rm -f "$baseline"
      echo "kernel messages since the case began:"
      dmesg | tail -n "+$((kernel_lines + 1))" | tail -n 60
    fi
  } >>"$log" 2>&1
  rmdir "$group" 2>/dev/null
  # A VM's own group may have turned these on; they are no trace that anyone minds.
  echo "-cpuset -hugetlb" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null
  local ms=$((now_ms - begun)) tenth=0
  tenth=$((ms % 1000 / 100))
  if [ $((ms * 2)) -gt $((limit * 1000)) ] && [ -s "$work/steps" ]; then
    event "@slow longest step $(sort -rn "$work/steps" | head -1)"
  fi
  rm -rf "$work"
  event "@result $name $result $((ms / 1000)).$tenth ${detail:-ok}"
}

for entry in "$@"; do run_case "${entry%:*}" "${entry##*:}"; done
