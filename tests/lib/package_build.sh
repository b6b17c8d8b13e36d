#!/bin/bash
# Makes the Debian packages in build/package, unless nothing has changed since; what the build says is
# shown when it fails.
set -euo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/common.sh"
cd "$repo"
mkdir -p build
deb=$(ls build/package/vmrig_*.deb 2>/dev/null || true)
if [ -n "$deb" ] && [ -z "$(find CMakeLists.txt CMakePresets.json README.md CHANGELOG.md devices examples \
  hostcfg launcher qmp -newer "$deb" -print -quit)" ]; then
  say "packages: up to date (build/package)"
  exit
fi
say "building the packages"
rm -f build/package/*.deb
cmake --workflow --preset package >build/package.log 2>&1 || {
  tail -n 30 build/package.log >&2
  die "the packages could not be built" "see $repo/build/package.log"
}
