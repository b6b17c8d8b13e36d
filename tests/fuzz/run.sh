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
out=$repo/build/fuzz
flags=(-O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all)
while [[ ${1:-} == --* ]]; do
  case $1 in
    --grow) grow=yes ;;
    --plain) out=$repo/build/fuzz-plain flags=(-O2) ;;
    *) die "\"$1\": unknown option" "run.sh [--plain] [--grow] COUNT [TARGET...]" ;;
  esac
  shift
done
count=${1:?"run.sh COUNT [TARGET...]"}
shift
targets=("$@")
[ $# -gt 0 ] || targets=(qmp_framing qmp_server_messages qmp_client_messages config)
command -v "$clang" >/dev/null && [ -n "$(find /usr/lib/llvm-19 -name 'libclang_rt.fuzzer-x86_64.a' 2>/dev/null)" ] ||
  install_packages clang

mkdir -p "$out"
options=(-std=c++20 "${flags[@]}" -I"$repo" -DJSON_USE_IMPLICIT_CONVERSIONS=0 -DBOOST_ASIO_NO_DEPRECATED)
messages=(qmp/error.cpp qmp/framing.cpp qmp/server_request.cpp)
client=(qmp/client.cpp qmp/client_core.cpp qmp/event.cpp qmp/fd.cpp qmp/unix_socket.cpp)
mapfile -t config < <(cd "$repo" && ls launcher/config/*.cpp hostcfg/base/*.cpp launcher/text.cpp devices/*.cpp qmp/caps.cpp)

# build TARGET SOURCE...: again only when a source or header is newer.
build() {
  local target=$1 source object objects=()
  shift
  for source in "$@"; do
    object=$out/${source//\//_}.o
    objects+=("$object")
    if [ ! -e "$object" ] || [ -n "$(find "$repo"/{qmp,hostcfg,devices,launcher,tests/fuzz} -name '*.[ch]pp' -newer "$object" -print -quit)" ]; then
      "$clang" "${options[@]}" -fsanitize=fuzzer-no-link -c "$repo/$source" -o "$object"
    fi
  done
  "$clang" "${options[@]}" -fsanitize=fuzzer "${objects[@]}" -lfmt -o "$out/$target"
}

# The stacks of every allocation, a fake stack for each frame and 256 MiB of freed memory made an input
# three times as dear.
export ASAN_OPTIONS=detect_stack_use_after_return=0:malloc_context_size=4:quarantine_size_mb=16
failed=0
for target in "${targets[@]}"; do
  case $target in
    config) build config tests/fuzz/config.cpp "${config[@]}" ;;
    qmp_client_messages) build "$target" "tests/fuzz/$target.cpp" "${messages[@]}" "${client[@]}" ;;
    *) build "$target" "tests/fuzz/$target.cpp" "${messages[@]}" ;;
  esac
  found=$out/found/$target
  mkdir -p "$found"
  say "$target: $count inputs"
  if (cd "$out" && "./$target" -runs="$count" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -verbosity=0 -artifact_prefix="$out/$target-" "$found" "$repo/tests/fuzz/corpus/$target") >"$out/$target.log" 2>&1; then
    say "$target: clean ($(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$target.log") inputs, $(
      sed -n 's/^stat::average_exec_per_sec: *//p' "$out/$target.log") a second)"
  else
    failed=1
    say "$target: FAILED"
    tail -n 60 "$out/$target.log"
  fi
  if [ $grow = yes ]; then
    "$out/$target" -merge=1 "$repo/tests/fuzz/corpus/$target" "$found" >/dev/null 2>&1
  fi
done
exit $failed
