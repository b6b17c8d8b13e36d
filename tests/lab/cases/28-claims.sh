# limit: 180
# Ten VMs at once that each want a CPU of their own: those that fit run, the rest name who holds it.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state
undo "$VMRIG" recover
undo bash -c '"$0" stop --all --force || :' "$VMRIG"
vm() { # NUMBER PIN
  echo "{\"name\": \"c$1\", \"cpu\": {\"vcpus\": 1, \"pin\": $2, \"exclusive\": true}, \"memory\": {\"size\": \"32MiB\"}}"
}
start_all() { # fills `running` and `refused`
  local n pids=() rc
  running=() refused=()
  for n in {0..9}; do
    "$VMRIG" start --paused "c$n.json" >"out.$n" 2>&1 &
    pids+=($!)
  done
  for n in {0..9}; do
    rc=0
    wait "${pids[n]}" || rc=$?
    case $rc in
    0) running+=("$n") ;;
    6) refused+=("$n") ;;
    *) cat "out.$n"; fail "c$n ended with $rc" ;;
    esac
  done
  echo "running: ${running[*]}; refused: ${refused[*]}"
}
# Each CPU has one VM at most, and its vCPU is there.
check_claims() {
  python3 -c 'import glob, json, os
held = {}
for path in glob.glob("state/*/state.json"):
    state = json.load(open(path))
    cpus = state["claim"]["exclusive_cpus"]
    assert cpus and cpus not in held, (path, cpus, held)
    held[cpus] = state["name"]
    for thread in state["threads"]:
        if thread["role"] == "vcpu":
            assert os.sched_getaffinity(thread["tid"]) == {int(cpus)}, thread
print(held)' || fail "claims"
}

step "ten at once, whose CPUs are named"
for n in {0..9}; do vm "$n" "[\"$((n % 4))\"]" >"c$n.json"; done
start_all
expect_eq ${#running[@]} 4 "VMs that run"
check_claims
for n in "${refused[@]}"; do
  grep -q "CPU $((n % 4)) is held by VM \"c[0-9]\"" "out.$n" || { cat "out.$n"; fail "c$n does not name the holder"; }
  grep -q "mend: vmrig stop c[0-9]" "out.$n" || { cat "out.$n"; fail "c$n has no mend"; }
done

step "the end of one makes room for the next"
first=${running[0]} next=
for n in "${refused[@]}"; do
  [ $((n % 4)) != $((first % 4)) ] || next=$n
done
need "$VMRIG" stop --force "c$first"
need "$VMRIG" start --paused "c$next.json"
expect_fails 6 "$VMRIG" start --paused "c$first.json"
check_claims
need "$VMRIG" stop --all --force

step "ten at once, whose CPUs are chosen"
for n in {0..9}; do vm "$n" '"auto"' >"c$n.json"; done
start_all
[ ${#running[@]} -ge 2 ] || fail "only ${#running[@]} run"
check_claims
for n in "${refused[@]}"; do
  grep -q "held by VM \"c[0-9]\"" "out.$n" || { cat "out.$n"; fail "c$n does not name the holder"; }
done
need "$VMRIG" stop --all --force
expect_eq "$(ls state)" "" "state folder at the end"
