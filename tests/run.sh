#!/bin/bash
# Builds and tests everything: packages, Release and sanitizer builds, guest, unit, golden and
# integration tests, format, clang-tidy, the quickstart, the bench's smoke run.
#   tests/run.sh [--full]      --full: all cases of the lab on both kernels, not a sample; ten million
#                              inputs for each fuzzer; QEMU 5.2 and 11.1, too; each step of a VM's life
#                              with a death and a fault of its disk, not a sample of them; ThreadSanitizer;
#                              half an hour of VMs that come, go and are killed
# From any folder, as often as one likes. A stage's output is kept in build/logs/, and shown
# when it fails. Ends with "N passed, N failed, N skipped", exit 1 when any failed.
set -uo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"
. "$repo/tests/lib/packages.sh"
cd "$repo" || exit 1

full=no
for argument in "$@"; do
  case $argument in
    --full) full=yes ;;
    *) die "\"$argument\": unknown option" "tests/run.sh [--full]" ;;
  esac
done

# One run at a time in a checkout: both would build in the same folders.
mkdir -p build/logs
exec 8>>build/.run.lock
flock -n 8 || die "another tests/run.sh is at work in this checkout" "wait for it"

passed=0 failed=0 skipped=0
skips=() failures=()

# Everything we start carries this mark in its environment, however it detaches.
VMRIG_RUN_ID=$(cat /proc/sys/kernel/random/uuid)
export VMRIG_RUN_ID
TMPDIR=$(mktemp -d /tmp/vmrig-tests.XXXXXX)
export TMPDIR
# A QEMU that runs as a user of its own has to pass through.
chmod 755 "$TMPDIR"

# Pids that carry the mark, without this script and the subshells of it.
marked_processes() {
  local environment pid
  for environment in /proc/[0-9]*/environ; do
    pid=${environment#/proc/}
    pid=${pid%/environ}
    [ "$pid" != $$ ] && [ "$pid" != "$BASHPID" ] || continue
    grep -qaz "^VMRIG_RUN_ID=$VMRIG_RUN_ID$" "$environment" 2>/dev/null || continue
    # A subshell of this script has its command line.
    cmp -s "/proc/$pid/cmdline" "/proc/$$/cmdline" || echo "$pid"
  done
}

# What tests could leave on the host; compared before and after.
host_state() {
  (
    cd /sys/class/net && ls -d -- * | sed 's/^/network device /'
    find /run/vmrig \( -name state.json -o -name journal -o -name '*.sock' \) 2>/dev/null
    find /sys/fs/cgroup -type d -name '*vmrig*' 2>/dev/null
    grep -H . /sys/kernel/mm/hugepages/*/nr_hugepages 2>/dev/null
    find /dev/shm -maxdepth 1 -name 'vmrig-*' 2>/dev/null
    awk '$3 == "hugetlbfs" {print "mount " $2}' /proc/mounts
    ip netns list 2>/dev/null | sed 's/^/netns /'
  ) | sort
}

# The pools of huge pages, one "FILE PAGES" a line: a node's own where there are nodes. Tests that
# change a pool hold its folder's lock, those of other checkouts, too.
pool_lock=/sys/kernel/mm/hugepages/hugepages-2048kB
page_pools() {
  local files=(/sys/devices/system/node/node*/hugepages/*/nr_hugepages) file
  [ -e "${files[0]}" ] || files=(/sys/kernel/mm/hugepages/*/nr_hugepages)
  for file in "${files[@]}"; do
    [ ! -r "$file" ] || echo "$file $(cat "$file")"
  done
}
with_pool_lock() {
  local lock rc
  [ -d "$pool_lock" ] || { "$@"; return; }
  exec {lock}<"$pool_lock"
  flock -w 60 "$lock" || say "$pool_lock: its lock is held by another; going on without"
  "$@" {lock}<&-
  rc=$?
  exec {lock}<&-
  return $rc
}

# put_pools_back WHO: writes what differs from $pools_before, and says so. 1 when there was something.
put_pools_back() {
  local file pages now rc=0
  while read -r file pages; do
    now=$(cat "$file")
    [ "$now" != "$pages" ] || continue
    rc=1
    echo "$pages" >"$file"
    say "$1: left $file at $now, had been $pages: is $(cat "$file") again"
  done <<<"$pools_before"
  return $rc
}

# end_marked WHO: what is left of tests that could not end themselves, and would hold pages.
end_marked() {
  local pid pids
  mapfile -t pids < <(marked_processes)
  [ ${#pids[@]} -gt 0 ] || return 0
  say "$1: still running, killed: ${pids[*]}"
  for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null; done
  for pid in "${pids[@]}"; do timeout 10 tail -s 0.1 --pid="$pid" -f /dev/null; done
}

# A suite that passed and left the pools changed is no success; check_host tells of it.
pool_faults=()
after_suite() { # NAME STATUS
  [ "$2" -lt 124 ] || end_marked "$1"
  with_pool_lock put_pools_back "$1" || [ "$2" != 0 ] || pool_faults+=("$1")
}

on_exit() {
  end_marked "at exit"
  [ -z "${pools_before:-}" ] || with_pool_lock put_pools_back "at exit"
  rm -rf "$TMPDIR"
}
trap on_exit EXIT
trap 'exit 130' INT TERM HUP

# stage NAME MINUTES COMMAND...: one case. Output goes to the log. Exit status 77 is a skip, for the
# reason in its last line; "SKIPPED: …" lines are parts that could not be done.
stage() {
  local name=$1 minutes=$2
  shift 2
  local log="build/logs/$name.log" begin=$SECONDS status
  say "$name ..."
  if declare -F "$1" >/dev/null; then
    "$@" >"$log" 2>&1 8>&- </dev/null
  else
    timeout -k 10 "${minutes}m" "$@" >"$log" 2>&1 8>&- </dev/null
  fi
  status=$?
  [ $status != 124 ] || echo "$name: time up after $minutes minutes" >>"$log"
  if [ $status = 77 ]; then
    skip "$name" "$(tail -n 1 "$log")"
    return 0
  fi
  if [ $status = 0 ]; then
    passed=$((passed + 1))
    local line
    while IFS= read -r line; do skip "$name" "${line#SKIPPED: }"; done < <(grep '^SKIPPED: ' "$log")
    say "$name: ok ($((SECONDS - begin)) s)"
  else
    fail_with "$name" "exit $status after $((SECONDS - begin)) s" "$log"
  fi
  return $status
}

fail_with() {
  failed=$((failed + 1))
  failures+=("$1: $2")
  say "$1: FAILED, $2; the end of $3:"
  tail -n 150 "$3" | sed 's/^/    /'
}

skip() {
  skipped=$((skipped + 1))
  skips+=("$1: $2")
  say "$1: skipped ($2)"
}

# aside NAME COMMAND...: begins what has the CPUs that the stages before `finish NAME` leave: guests are
# waited for most of the time.
declare -A asides=()
aside() {
  local name=$1
  shift
  (
    exec >"build/logs/$name-aside.log" 2>&1 8>&- </dev/null
    renice -n 19 "$BASHPID" >/dev/null
    "$@"
  ) &
  asides[$name]=$!
}
finish() {
  local status
  wait "${asides[$1]}"
  status=$?
  cat "build/logs/$1-aside.log"
  return $status
}

# suite PRESET NAME MINUTES [OPTION...]: a doctest executable; each of its cases counts.
suite() {
  local preset=$1 program=$2 minutes=$3
  shift 3
  local name="$preset-$program" executable=build/$preset/tests/$program log begin=$SECONDS status summary line
  # Its own code is not what is tested: it starts the VMRIG that it is given.
  [ "$program" != integration_tests ] || executable=build/release/tests/$program
  log="build/logs/$name.log"
  say "$name ..."
  if [ -n "${asides[$name]:-}" ]; then
    finish "$name" >"$log" 2>&1
  else
    VMRIG="$repo/build/$preset/launcher/vmrig" \
      timeout -k 10 "${minutes}m" "$executable" --no-colors=1 "$@" >"$log" 2>&1 8>&- </dev/null
  fi
  status=$?
  [ $status != 124 ] || echo "$name: time up after $minutes minutes" >>"$log"
  after_suite "$name" $status

  # [doctest] test cases:  12 |  11 passed | 1 failed | 0 skipped
  summary=$(sed -n 's/^\[doctest\] test cases: *[0-9]* *| *\([0-9]*\) passed *| *\([0-9]*\) failed.*/\1 \2/p' "$log" | tail -n 1)
  local good=${summary%% *} bad=${summary##* } set_aside=0
  while IFS= read -r line; do
    set_aside=$((set_aside + 1))
    skips+=("$name: ${line#SKIPPED: }")
  done < <(grep '^SKIPPED: ' "$log")
  good=${good:-0} bad=${bad:-0}
  good=$((good - set_aside))
  skipped=$((skipped + set_aside))
  passed=$((passed + (good > 0 ? good : 0)))
  if [ $status = 0 ] && [ "$bad" = 0 ] && [ -n "$summary" ]; then
    say "$name: $good passed, $set_aside skipped ($((SECONDS - begin)) s)"
    return 0
  fi
  # fail_with counts one; a crash has no summary.
  failed=$((failed + (bad > 1 ? bad - 1 : 0)))
  fail_with "$name" "$bad of its cases, exit $status" "$log"
}

# Integration cases that tell little of vmrig's own memory: of the kernel's rates, of guests, or of what
# another case does on the other machine type; of a peak that is the sanitizer's own.
about_others='*sends garbage without end*,*rate limits hold*,the test guest*,a guest*console gives*,*come* and go* on pc,*with every QEMU that is here'
# And files whose time is mostly a guest's or the kernel's, or which bound a process's memory, of
# which the sanitizer takes its own; --full has the others.
of_guests='*floods*,*guest_*,*vhost_user*,*host_network*,*resources*,*hugepages*,*soak*,*nic_kinds*,*nic_traffic*'
# What runs under the sanitizers.
sanitized=(vmrig unit_tests golden_tests fuzz_qmp_framing fuzz_qmp_server_messages fuzz_qmp_client_messages fuzz_config fuzz_facts fuzz_journal)
build_preset() { cmake --preset "$1" && cmake --build --preset "$1" "${@:2}"; }


# What threads have a part in: work on the host beside the loop, populating, several VMs at once; what
# does nothing but parse or plan would only take its time. (For both programs: a file's name is its
# subject.) Nor what bounds a process's memory, of which the sanitizer takes its own.
threaded=(-sf='*launcher_*,*qmp_*,*hostcfg_live*,*hostcfg_files*,*_lease*,*integration/*' -sfe='*floods*' -tce='soak*')

# One kernel, and the cases that find the most, in about five minutes: the lab itself, a VM with a VF
# from start to stop, deaths at a sample of the steps, settings of VFs, networks, placement, who QEMU is. What
# fails is tried twice, because an emulated machine can stall on a loaded host; what a case finds wrong is found
# twice.
lab_sample() {
  local cases=(01 02 10 20 21 25 28 30 33 34 36 37) lines=build/logs/lab-lines.txt
  tests/lab/run.sh --kernel 6.1 "${cases[@]}" | tee "$lines"
  [ "${PIPESTATUS[0]}" != 0 ] || return 0
  mapfile -t cases < <(sed -n 's/^FAIL  *\([0-9][0-9]\)-.*/\1/p' "$lines")
  [ ${#cases[@]} -gt 0 ] || return 1
  echo "once more, in case the machine itself stalled:"
  tests/lab/run.sh --kernel 6.1 "${cases[@]}"
}

# 85,000 inputs under the sanitizers, the same ones every time; --full has 10 million new ones.
fuzz_sample() {
  local target count
  while read -r target count; do
    timeout 400 "build/asan/tests/fuzz/fuzz_$target" "tests/fuzz/corpus/$target" "$count" || return 1
  done <<'COUNTS'
qmp_framing 25000
qmp_server_messages 15000
qmp_client_messages 10000
config 15000
facts 15000
journal 5000
COUNTS
}

check_format() {
  local files
  mapfile -t files < <(git ls-files '*.cpp' '*.hpp')
  "$clang_format" --dry-run -Werror "${files[@]}"
}

check_scripts() {
  local file
  for file in $(git ls-files '*.sh' '*.bash' .ci/run tests/guest/root launcher/package/postrm); do
    bash -n "$file" || return 1
  done
  # Without leaving its output anywhere.
  git ls-files -z '*.py' | xargs -0 python3 -c 'import ast, sys
for file in sys.argv[1:]: ast.parse(open(file, encoding="utf-8").read(), file)'
}

# Nothing of ours is left: processes, files, and the host's state.
check_host() {
  local left clean=0
  left=$(marked_processes)
  if [ -n "$left" ]; then
    echo "processes that the tests left:"
    ps -o pid,ppid,lstart,args -p "$(echo "$left" | paste -sd,)"
    clean=1
  fi
  if [ -n "$(ls -A "$TMPDIR")" ]; then
    echo "temporary files that the tests left:"
    find "$TMPDIR" | head -50
    clean=1
  fi
  if [ ${#pool_faults[@]} -gt 0 ]; then
    echo "passed, and left pools of huge pages changed: ${pool_faults[*]}"
    clean=1
  fi
  host_state >build/logs/host-after.txt
  if ! diff build/logs/host-before.txt build/logs/host-after.txt; then
    echo "above: the host before (<) and after (>) the tests"
    clean=1
  fi
  return $clean
}

install_packages build run guest test || exit 1
host_state >build/logs/host-before.txt
pools_before=$(with_pool_lock page_pools)

stage build-release 30 build_preset release
stage guest 10 tests/guest/build.sh
export VMRIG_SOURCE=$repo VMRIG_GUEST=$repo/build/guest
[ $full = no ] || export VMRIG_FULL=1
if tests/lib/qemu10.sh >build/logs/qemu10.log 2>&1; then
  passed=$((passed + 1))
  export VMRIG_QEMU10=$repo/build/qemu10/qemu-system-x86_64
  say "$(sed -n '$s/^\[[^]]*\] //p' build/logs/qemu10.log)"
else
  skip qemu10 "QEMU 10.0 could not be fetched: $(tail -n 1 build/logs/qemu10.log)"
fi
if tests/lib/dpdk.sh >build/logs/dpdk.log 2>&1; then
  export VMRIG_TESTPMD=$repo/build/dpdk/dpdk-testpmd
  say "$(sed -n '$s/^\[[^]]*\] //p' build/logs/dpdk.log)"
else
  skip dpdk "DPDK could not be fetched: $(tail -n 1 build/logs/dpdk.log)"
fi

if tests/lib/promtool.sh >build/logs/promtool.log 2>&1; then
  export VMRIG_PROMTOOL=$repo/build/promtool/promtool
else
  skip promtool "Prometheus' promtool could not be fetched: $(tail -n 1 build/logs/promtool.log)"
fi

if [ $full = yes ]; then
  for version in 5.2 11.1; do
    if tests/lib/qemu_suite.sh $version >"build/logs/qemu${version//./}.log" 2>&1; then
      passed=$((passed + 1))
      export "VMRIG_QEMU${version//./}=$repo/build/qemu${version//./}/qemu-system-x86_64"
    else
      skip "qemu${version//./}" "QEMU $version could not be fetched: $(tail -n 1 "build/logs/qemu${version//./}.log")"
    fi
  done
fi

for program in unit_tests golden_tests; do suite release $program 10; done
aside build-asan build_preset asan --target "${sanitized[@]}"
if [ $full = yes ]; then
  VMRIG_FULL=1 suite release integration_tests 60
else
  suite release integration_tests 15
fi

if stage build-asan 30 finish build-asan; then
  export ASAN_OPTIONS=detect_leaks=1:halt_on_error=1:strict_string_checks=1:detect_stack_use_after_return=1
  export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
  suite asan golden_tests 15
  aside asan-unit_tests env VMRIG="$repo/build/asan/launcher/vmrig" timeout -k 10 15m build/asan/tests/unit_tests --no-colors=1
  aside fuzz-sample fuzz_sample
  if [ $full = yes ]; then suite asan integration_tests 60 "--test-case-exclude=*sends garbage without end*" "--source-file-exclude=*floods*"; else
    suite asan integration_tests 15 "--test-case-exclude=$about_others" "--source-file-exclude=$of_guests"
  fi
  suite asan unit_tests 15
  stage fuzz-sample 10 finish fuzz-sample
  unset ASAN_OPTIONS UBSAN_OPTIONS
fi

if [ $full = yes ] && stage build-tsan 60 build_preset tsan --target vmrig unit_tests; then
  export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
  for program in unit_tests integration_tests; do suite tsan $program 40 "${threaded[@]}"; done
  unset TSAN_OPTIONS
fi

stage format 5 check_format
stage scripts 5 check_scripts
# All of it takes a quarter of an hour.
if [ $full = yes ]; then stage tidy 60 tests/tidy.sh --full; else stage tidy 15 tests/tidy.sh --last 20 --most 40; fi
export VMRIG=$repo/build/release/launcher/vmrig
stage quickstart 5 examples/quickstart.sh
stage bench-smoke 5 tests/bench/launch.py --smoke
stage bench-qmp-smoke 5 tests/bench/qmp.py --smoke
stage bench-hotplug-smoke 5 tests/bench/hotplug.py --smoke
stage bench-network-smoke 5 tests/bench/network.py --smoke
stage bench-prealloc-smoke 5 tests/bench/prealloc.py --smoke
stage install 10 tests/install.sh
stage readme 5 tests/readme.sh
stage man 5 tests/man.sh
stage completion 5 tests/completion.py
stage examples 5 tests/examples.sh
stage scripting 5 tests/scripting.sh
stage kubernetes 5 tests/kubernetes.py
stage host-example 5 tests/host_example.sh
stage appliance 20 tests/appliance.sh
stage package 15 tests/package.sh
stage container 10 tests/container.py
if [ $full = yes ]; then
  # The sanitizers see more; without them the ten millions are done in the same time.
  stage fuzz 120 tests/fuzz/run.sh 1000000
  stage fuzz-plain 180 tests/fuzz/run.sh --plain 10000000
  stage bench-compare-smoke 10 tests/bench/run.sh --smoke
  stage soak 45 env VMRIG_SOAK_SECONDS=1800 build/release/tests/integration_tests -tc='soak*'
  stage lab 240 tests/lab/run.sh --full
else
  stage bench-compare-smoke 5 tests/bench/run.sh --smoke --no-libvirt
  stage lab-sample 10 lab_sample
fi
stage host-as-found 1 check_host

if [ ${#skips[@]} -gt 0 ]; then
  echo "skipped:"
  printf '  %s\n' "${skips[@]}"
fi
if [ ${#failures[@]} -gt 0 ]; then
  echo "failed:"
  printf '  %s\n' "${failures[@]}"
fi
say "done"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
