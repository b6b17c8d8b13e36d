# limit: 1200
# SIGKILL of the supervisor at every step of VF set-up, bind and release: recover puts all back.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state
[ -x "$VMRIG_CRASH" ] || skip "no vmrig_crash is built"
# A sample takes every seventh step, and run.sh --full each of them.
stride=7 first=2
shopt -s extglob
[ -z "$LAB_FULL" ] || stride=1 first=1
points=$LAB_WORK/points
vm() { # NAME JSON: of the NIC
  echo "{\"name\": \"k\", \"memory\": {\"size\": \"64MiB\"}, \"nics\": [{\"id\": \"net1\", \"type\": \"vf\",
    \"pf\": \"pf0\", \"mac\": \"52:54:00:1a:b0:77\", \"vlan\": 9, \"trust\": true$2}]}" >"$1.json"
}
# All that a VM changes of the PF and its VFs, without a process where the shell can do it.
host_now() {
  local link vf override
  echo "VFs $(<"$pci/$pf0/sriov_numvfs")"
  for link in "$pci/$pf0"/virtfn*; do
    [ -e "$link" ] || continue
    vf=$(readlink "$link")
    override=$(<"$link/driver_override")
    echo "${vf##*/} driver $(driver_of "${vf##*/}") override $override"
  done
  # Its carrier comes and goes by itself when VFs do.
  link=$(ip -j link show pf0)
  link=${link/\"NO-CARRIER\",/}
  link=${link/,\"LOWER_UP\"/}
  echo "${link/\"operstate\":\"@(UP|DOWN)\"/}"
}
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
was_killed() {
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
  for ((n = first; ; n += stride)); do
    way=stop
    [ $((n % 2)) = 0 ] || way=death
    : >points
    VMRIG_CRASH_AT=$n VMRIG_CRASH_LOG=$points start_and_end "$1" $way >run.log 2>&1
    was_killed $n "$1, $way" || break
    deaths=$((deaths + 1))
    "$VMRIG" recover >recover.log 2>&1 || { cat run.log recover.log; fail "recover after a death ${steps[-1]}"; }
    expect_as_before "a death at step $n, ${steps[-1]}"
  done
  "$VMRIG" stop k 2>/dev/null || : # what QEMU's death left to read
  expect_as_before "a life without a death"
  echo "$1: $deaths deaths, $((n - stride)) the last step that was tried, ${#steps[@]} there are"
  [ ${#steps[@]} -ge "$2" ] || fail "only ${#steps[@]} steps"
}
undo "$VMRIG" recover
undo bash -c '"$0" stop --all --force || :' "$VMRIG"
ip link set pf0 up

step "VFs that the VM makes"
vm make ', "create": 2'
before=$(host_now)
matrix make.json 40

step "a VF that its owner has set up"
create_vfs $pf0 1
ip link set pf0 vf 0 mac 52:54:00:1a:b0:0a
ip link set pf0 vf 0 vlan 7
vm keep ""
before=$(host_now)
matrix keep.json 30

step "recover itself"
deaths=0
for ((n = first; ; n += stride)); do
  need timeout 60 "$VMRIG" start --paused keep.json >/dev/null
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
[ ${#steps[@]} -ge 12 ] || fail "only ${#steps[@]} steps"
echo "recover: $deaths deaths, ${#steps[@]} steps there are"
