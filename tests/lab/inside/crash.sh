# A crash matrix, for a case that has sourced lib.sh and defines host_now: a line or more that tells
# all that its VM changes of the host. The VM is "k", and the host is as before after a death at each
# step of its life (vmrig_crash) and `vmrig recover`.
export VMRIG_STATE_DIR=$LAB_WORK/state
[ -x "$VMRIG_CRASH" ] || skip "no vmrig_crash is built"
# A sample takes every seventh step, and run.sh --full each of them.
stride=7 first=2
[ -z "$LAB_FULL" ] || stride=1 first=1
points=$LAB_WORK/points

# With the shell alone; a dead supervisor's state stays for this.
pid_of() { # supervisor|qemu
  [[ $(<state/k/state.json) =~ \"$1\":\{\"pid\":([0-9]+) ]] || fail "no pid of $1 in $(<state/k/state.json)"
  echo "${BASH_REMATCH[1]}"
}
start_and_end() { # CONFIG WAY: the way that QEMU ends
  timeout 60 "$VMRIG_CRASH" start --paused "$1" || return 0
  if [ "$2" = stop ]; then
    timeout 60 "$VMRIG" stop --force k || :
  else
    local supervisor
    supervisor=$(pid_of supervisor)
    kill -KILL "$(pid_of qemu)"
    wait_for_exit "$supervisor" 30
  fi
}
# The killed one has told its steps; who was killed has told exactly N of them.
was_killed() { # N WHAT
  mapfile -t steps <points
  [ ${#steps[@]} -ge "$1" ] || return 1
  expect_eq ${#steps[@]} "$1" "steps until the death at $1"
  echo "$2 $1: died ${steps[-1]}"
}
expect_as_before() { # WHAT
  expect_eq "$(host_now)" "$before" "host after $1"
  expect_eq "$(ls "$VMRIG_STATE_DIR")" "" "state folder after $1"
}
# matrix CONFIG FEWEST: a death at each step of the VM's life; every other life ends by QEMU's death.
matrix() {
  local n way deaths=0
  before=$(host_now)
  for ((n = first; ; n += stride)); do
    way=stop
    [ $((n % 2)) = 0 ] || way=death
    : >points
    VMRIG_CRASH_AT=$n VMRIG_CRASH_LOG=$points start_and_end "$1" $way >run.log 2>&1
    was_killed $n "$1, $way" || break
    deaths=$((deaths + 1))
    "$VMRIG" recover >recover.log 2>&1 || { cat run.log recover.log; fail "recover after a death ${steps[-1]}"; }
    # One that ran already has a supervisor again.
    "$VMRIG" stop --force k >>run.log 2>&1 || :
    expect_as_before "a death at step $n, ${steps[-1]}"
  done
  "$VMRIG" stop k 2>/dev/null || : # what QEMU's death left to read
  expect_as_before "a life without a death"
  echo "$1: $deaths deaths, $((n - stride)) the last step that was tried, ${#steps[@]} there are"
  [ ${#steps[@]} -ge "$2" ] || fail "only ${#steps[@]} steps"
}
# recover_matrix CONFIG FEWEST: the same for the steps of recover, after a death of supervisor and QEMU.
recover_matrix() {
  local n deaths=0 supervisor qemu
  before=$(host_now)
  for ((n = first; ; n += stride)); do
    need timeout 60 "$VMRIG" start --paused "$1" >/dev/null
    supervisor=$(pid_of supervisor) qemu=$(pid_of qemu)
    kill -KILL "$supervisor" "$qemu"
    wait_for_exit "$supervisor" 10
    wait_for_exit "$qemu" 10
    : >points
    VMRIG_CRASH_AT=$n VMRIG_CRASH_LOG=$points "$VMRIG_CRASH" recover >run.log 2>&1 || :
    was_killed $n recover || break
    deaths=$((deaths + 1))
    need "$VMRIG" recover
    expect_as_before "a recover that died at step $n, ${steps[-1]}"
  done
  expect_as_before "a recover without a death"
  [ ${#steps[@]} -ge "$2" ] || fail "only ${#steps[@]} steps"
  echo "recover: $deaths deaths, ${#steps[@]} steps there are"
}
undo "$VMRIG" recover
undo bash -c '"$0" stop --all --force || :' "$VMRIG"
# Whether somebody has died: at step N of the supervisor.
has_died() { # N
  mapfile -t steps <points
  [ "$1" -gt 0 ] && [ ${#steps[@]} -ge "$1" ]
}
# live CONFIG N VICTIM: a start, the hotplug of what ${plug[@]} has (kind and device), the unplug of
# ${unplug[@]}, a stop; up to a death.
live() {
  local i id unplugged
  : >points
  VMRIG_CRASH_AT=$2 VMRIG_CRASH_LOG=$points VMRIG_CRASH_KILL=$3 VMRIG_CRASH_QEMU=state/k/qemu.stat \
    timeout 60 "$VMRIG_CRASH" start --paused "$1" || return 0
  for ((i = 0; i < ${#plug[@]}; i += 2)); do
    ! has_died "$2" || return 0
    timeout 60 "$VMRIG" attach k "${plug[i]}" "${plug[i + 1]}" || has_died "$2" || fail "attach ${plug[i + 1]}"
  done
  for id in "${unplug[@]}"; do
    ! has_died "$2" || return 0
    timeout 60 "$VMRIG" detach k "$id" --timeout 20 &
    unplugged=$!
    # Not before it is asked for.
    for i in {1..100}; do
      [[ $(<state/k/state.json) != *'"pending_unplugs":["'* ]] 2>/dev/null || break
      read -rt 0.1 <> <(:) || :
    done
    "$VMRIG" reset k || :
    wait $unplugged || has_died "$2" || fail "detach $id"
  done
  ! has_died "$2" || return 0
  timeout 60 "$VMRIG" stop --force k || has_died "$2" || fail "stop"
}
# Of a VM that has a supervisor again: QEMU has each of its devices.
expect_agreement() { # WHAT
  "$VMRIG" status k --json >status.json 2>/dev/null || return 0
  "$VMRIG" qmp k qom-list '{"path": "/machine/peripheral"}' >devices.json || return 0
  python3 - <<'PYTHON' || fail "state and QEMU after $1"
import json, sys
config = json.load(open("status.json"))["config"]
there = {d["name"] for d in json.load(open("devices.json"))}
lost = [d["id"] for d in config["disks"] + config["nics"] if d["id"] not in there]
if lost: sys.exit(f"in the state and not in QEMU: {lost}")
PYTHON
}
# life_matrix CONFIG FEWEST: a death at each step of such a life, of the three in turn.
life_matrix() {
  local n deaths=0 victim victims=(supervisor both qemu) what supervisor
  before=$(host_now)
  for ((n = life_first; ; n += life_stride)); do
    victim=${victims[n % 3]}
    live "$1" $n $victim >run.log 2>&1 || { cat run.log; fail "a life to step $n"; }
    has_died $n || break
    what="SIGKILL of $victim at step $n, ${steps[n - 1]}"
    deaths=$((deaths + 1))
    echo "$what"
    # Of a QEMU that was there, the supervisor puts the host back by itself.
    if [ $victim = qemu ] && [[ " ${steps[*]:0:n} " == *" after QEMU "* ]] && [ -e state/k/state.json ]; then
      supervisor=$(pid_of supervisor) && wait_for_exit "$supervisor" 60
    fi
    "$VMRIG" recover >recover.log 2>&1 || { cat run.log recover.log; fail "recover after $what"; }
    expect_agreement "$what"
    "$VMRIG" stop --force k >>run.log 2>&1 || :
    "$VMRIG" recover >>recover.log 2>&1 || { cat recover.log; fail "a second recover after $what"; }
    expect_as_before "$what"
  done
  "$VMRIG" stop k 2>/dev/null || :
  expect_as_before "a life without a death"
  echo "$1: $deaths deaths, ${#steps[@]} steps there are"
  [ ${#steps[@]} -ge "$2" ] || fail "only ${#steps[@]} steps"
}
# A life takes long: a smaller sample than of the others.
life_stride=31 life_first=5
[ -z "$LAB_FULL" ] || life_stride=1 life_first=1
