#!/bin/bash
# Runs every ```sh block of the README, in order, as a user would from the repository's folder;
# hello.json is the README's own. Stops at the first command that fails.
set -euo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrig-readme.XXXXXX")
chmod 700 "$work"
export VMRIG_STATE_DIR=$work/state VMRIG_GUEST=${VMRIG_GUEST:-$repo/build/guest}
vmrig=${VMRIG:-$repo/build/release/launcher/vmrig}
mkdir "$work/bin"
ln -s "$vmrig" "$work/bin/vmrig"
export PATH=$work/bin:$PATH
finish() {
  vmrig stop --force --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

# Blocks of one kind ("" for those of none), each line as it stands.
blocks() {
  awk -v kind="$1" '/^```/ {inside = !inside; on = inside && substr($0, 4) == kind; next} on' "$repo/README.md"
}

cp -r "$repo/examples" "$repo/tests" "$work/" 2>/dev/null
blocks json >"$work/hello.json"
blocks sh >"$work/commands.sh"
[ "$(wc -l <"$work/commands.sh")" -gt 10 ] || die "README.md has lost its sh blocks"
cd "$work"
bash -euxo pipefail commands.sh
# What the README shows of the plans is what vmrig prints.
blocks "" >"$work/shown.txt"
for example in nfv network; do
  vmrig plan examples/$example.json --facts tests/data/facts/two-socket-72cpu.json >"$work/plan.txt"
  while IFS= read -r line; do
    grep -qxF -- "$line" "$work/shown.txt" || die "README.md does not show this line of the plan: $line"
  done <"$work/plan.txt"
done
