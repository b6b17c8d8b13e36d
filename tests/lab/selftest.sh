#!/bin/bash
# Proves the lab's runner: that it notices what cases leave behind, time running out and a
# dying kernel, and that the case after each of them starts clean.
#   selftest.sh [--kernel 6.1|6.12]     default 6.12
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/common.sh"
kernel=6.12
[ "${1:-}" != --kernel ] || kernel=${2:?}
logs=$repo/build/lab/selftest
output=$logs/output
mkdir -p "$logs"

rc=0
VMRIG_LAB_CASES=$here/selftest "$here/run.sh" --kernel "$kernel" --keep-logs "$logs" >"$output" 2>&1 || rc=$?
if grep -q '^SKIPPED: lab:' "$output"; then
  grep '^SKIPPED: lab:' "$output"
  exit 0
fi

wrong=0
# expect REGEX WHAT: a line of the output has to match.
expect() {
  grep -Eq -- "$1" "$output" && return 0
  echo "selftest: $2 (nothing matches: $1)"
  wrong=$((wrong + 1))
}
# expect_case NAME RESULT [LOG_TEXT]: result line, and a text in the case's log.
expect_case() {
  expect "^$2 +$1 " "$1 has to end with $2"
  [ -z "${3:-}" ] || grep -qF -- "$3" "$logs/$kernel/$1.log" || {
    echo "selftest: the log of $1 lacks: $3"
    wrong=$((wrong + 1))
  }
}
[ $rc = 1 ] || { echo "selftest: run.sh ended with $rc, not 1"; wrong=$((wrong + 1)); }
expect_case 10-leaves-process FAIL "left running:"
expect_case 11-leaves-link FAIL "after:  link labdummy"
expect_case 12-leaves-vf FAIL "override vfio-pci"
expect_case 13-leaves-pages FAIL "after:  mount /run/lab/mnt"
expect_case 20-clean-after-all PASS
expect_case 30-time-is-up FAIL
expect "in step: wait for nothing; time is up \(2 s\)$" "the time limit names its step, and undo has run"
expect_case 31-wrong-value FAIL 'the number: got "one", expected "two"'
expect "in step: fail; exit status 1$" "undo puts back after a failure"
expect_case 40-skips SKIP
expect "^SKIPPED: lab/40-skips: it says so" "the reason of a skip is shown"
expect_case 90-kernel-dies FAIL
expect "in step: crash; the machine ended" "a dying kernel is told with its step"
expect "Kernel panic|sysrq: Trigger a crash" "the console's end is shown"
expect "^FAIL +91-never-run .*not run" "what could not run has failed"
expect "^lab: 1 passed, 9 failed, 1 skipped" "the sum is right"
if [ $wrong != 0 ]; then
  sed 's/^/  | /' "$output"
  exit 1
fi
say "lab: selftest passed"
