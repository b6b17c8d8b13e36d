#!/bin/bash
# Fuzzes with libFuzzer, mostly with sanitizers; corpora are in tests/fuzz/corpus/.
#   run.sh [--plain] [--grow] COUNT [TARGET...]     COUNT inputs for each target; default all targets
# --plain: without sanitizers, several times as many inputs a second.
# What is new on the way lands in build/fuzz/found/TARGET; --grow adds what reaches new code to the
# corpus that is kept. A failing input is left in build/fuzz/.
set -euo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/common.sh"
. "$repo/tests/lib/packages.sh"

grow=no
preset=fuzz
search=()
while [[ ${1:-} == --* ]]; do
  case $1 in
    --grow) grow=yes ;;
    # To weigh the inputs by how rare is what they reach would cost a quarter of the time.
    --plain) preset=fuzz-plain search=(-entropic=0) ;;
    *) die "\"$1\": unknown option" "run.sh [--plain] [--grow] COUNT [TARGET...]" ;;
  esac
  shift
done
count=${1:?"run.sh COUNT [TARGET...]"}
shift
targets=("$@")
[ $# -gt 0 ] || targets=(qmp_framing qmp_server_messages qmp_client_messages config facts journal)
command -v "$clang" >/dev/null && [ -n "$(find /usr/lib/llvm-19 -name 'libclang_rt.fuzzer-x86_64.a' 2>/dev/null)" ] ||
  install_packages clang

out=$repo/build/$preset
mkdir -p "$out"
(cd "$repo" && cmake --preset "$preset" && cmake --build --preset "$preset" --target "${targets[@]/#/fuzz_}") \
  >"$out/build.log" 2>&1 || { tail -n 60 "$out/build.log"; exit 1; }

# The stacks of every allocation, a fake stack for each frame and 256 MiB of freed memory made an input
# three times as dear.
export ASAN_OPTIONS=detect_stack_use_after_return=0:malloc_context_size=4:quarantine_size_mb=16
failed=0
for target in "${targets[@]}"; do
  found=$out/found/$target
  words=$repo/tests/fuzz/$target.dict
  mkdir -p "$found"
  options=(-runs="$count" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0
    -artifact_prefix="$out/$target-" "${search[@]}")
  [ ! -e "$words" ] || options+=(-dict="$words")
  say "$target: $count inputs"
  if "$out/tests/fuzz/fuzz_$target" "${options[@]}" "$found" "$repo/tests/fuzz/corpus/$target" >"$out/$target.log" 2>&1; then
    say "$target: clean ($(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$target.log") inputs, $(
      sed -n 's/^stat::average_exec_per_sec: *//p' "$out/$target.log") a second)"
  else
    failed=1
    say "$target: FAILED"
    tail -n 60 "$out/$target.log"
  fi
  if [ $grow = yes ]; then
    "$out/tests/fuzz/fuzz_$target" -merge=1 "$repo/tests/fuzz/corpus/$target" "$found" >/dev/null 2>&1
  fi
done
exit $failed
