#!/bin/bash
# clang-tidy over all our .cpp, with the release build's compile commands.
#   tidy.sh [--full] [--last COMMITS] [--most FILES]
# --full: the tests' own code too, and the path-sensitive analyzer. --last: what these commits touched.
# A file is skipped when it, every header that it includes, the compile command and the
# checks are as they were when it last passed, so a second run takes seconds.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
. "$repo/tests/lib/packages.sh"
exec python3 "$repo/tests/lib/tidy.py" --tidy "$clang_tidy" --repo "$repo" --build "$repo/build/release" "$@"
