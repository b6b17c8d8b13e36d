# shellcheck shell=bash
# Shared helpers of the test and example scripts; sourced, never executed.
# Sets `repo` (the source folder) and offers progress, locking and apt access.
# Everything that is downloaded or built lands below $repo/build.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${VMRIG_T0:=$(date +%s%N)}"
export VMRIG_T0
# Compiled objects are the same in any folder that the sources stand in, and in any locale.
export CCACHE_BASEDIR=$repo CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros,locale

# Prints one progress line with the seconds since the outermost script began.
say() {
  local ms=$((($(date +%s%N) - VMRIG_T0) / 1000000))
  printf '[%4d.%01ds] %s\n' $((ms / 1000)) $((ms % 1000 / 100)) "$*"
}

# Prints an error in vmrig's own shape (what failed, then the mend) and exits 1.
die() {
  printf '%s: %s\n' "$(basename "$0")" "$1" >&2
  [ -z "${2:-}" ] || printf '       mend: %s\n' "$2" >&2
  exit 1
}

# with_lock FILE COMMAND...: runs COMMAND while holding an exclusive lock on FILE.
# The lock's descriptor is closed in the command, so that no grandchild keeps it.
with_lock() {
  local file=$1
  shift
  mkdir -p "$(dirname "$file")"
  (
    flock 9
    "$@" 9>&-
  ) 9>>"$file"
}

# apt-get that never asks. The sandbox user `_apt` can't write to a folder of ours.
apt_get() {
  DEBIAN_FRONTEND=noninteractive apt-get -o APT::Sandbox::User=root \
    -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null
}

# apt_candidate PACKAGE: the version apt would take; nothing when it knows none.
apt_candidate() {
  LC_ALL=C apt-cache policy "$1" 2>/dev/null | awk '$1 == "Candidate:" && $2 != "(none)" {print $2}'
}

# Downloads the package lists once on a host that has none that name PACKAGE.
apt_need_lists() {
  [ -z "$(apt_candidate "$1")" ] || return 0
  [ "$(id -u)" = 0 ] || die "no package lists on this host (\"$1\" is unknown)" "sudo apt-get update"
  say "apt-get update (no package lists yet)"
  with_lock "$repo/build/.apt.lock" apt_get -qq update
}

# apt_fetch FOLDER PACKAGE...: downloads packages into FOLDER without installing them.
# A stale list names files that the mirror has dropped, so it updates and retries once.
apt_fetch() {
  local dir=$1
  shift
  mkdir -p "$dir"
  (cd "$dir" && apt_get -qq download "$@" 2>/dev/null) && return 0
  [ "$(id -u)" = 0 ] && with_lock "$repo/build/.apt.lock" apt_get -qq update
  (cd "$dir" && apt_get -qq download "$@")
}
