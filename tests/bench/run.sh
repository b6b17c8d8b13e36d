#!/bin/bash
# Measures vmrig against bare QEMU and libvirt: one command, one table, in markdown and JSON.
#   tests/bench/run.sh [--smoke] [--no-libvirt] [--pairs N] [--many N]
# The table is printed and kept with all samples in build/bench/. libvirt is fetched from Debian and
# unpacked, not installed; where that can't be, its column is empty and the table says why. --smoke:
# a few of each, within seconds, so that none of this can rot. Run it on a machine that does nothing
# else: it tells when there was load.
set -euo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/common.sh"
cd "$repo"

libvirt=yes smoke=no
for word in "$@"; do
  case $word in
    --no-libvirt) libvirt=no ;;
    --smoke) smoke=yes ;;
  esac
done

if [ $smoke = no ] || [ ! -x build/release/tests/bench/bare_launch ]; then
  cmake --preset release >/dev/null
  cmake --build --preset release --target vmrig bare_launch raw_qmp populate_reference >&2
fi
if [ $libvirt = yes ]; then tests/lib/libvirt.sh >&2 || true; fi
mkdir -p build/bench
exec python3 tests/bench/compare.py --markdown build/bench/table.md --json build/bench/table.json "$@"
