# shellcheck shell=bash disable=SC2034,SC2154  # lists are used by name, repo comes from common.sh
# The Debian packages that building, running and testing need; sourced after common.sh.

packages_build=(g++ cmake ninja-build pkg-config ccache libboost1.81-dev nlohmann-json3-dev
  libfmt-dev libcli11-dev libhwloc-dev libnl-3-dev libnl-route-3-dev libcap-ng-dev libedit-dev doctest-dev)
packages_run=(qemu-system-x86 qemu-utils)
packages_guest=(cpio xz-utils util-linux)
# clang tools are pinned by name: another version formats and warns differently.
clang_format=clang-format-14
clang_tidy=clang-tidy-19
clang=clang++-19
packages_bookworm=(debootstrap debian-archive-keyring)
packages_old_qemu=(patchelf debian-archive-keyring)
packages_clang=(clang-19 libclang-rt-19-dev)
packages_test=("${packages_clang[@]}" git iproute2 nftables openvswitch-switch passt "$clang_format" "$clang_tidy" python3 python3-jsonschema python3-yaml procps util-linux qemu-guest-agent
  bash zsh fish mandoc man-db groff-base dpkg-dev)

# install_packages SET...: SET is build, run, guest, clang or test. Installs by apt what dpkg does
# not have; touches apt only when something is missing.
install_packages() {
  local set missing=() package
  for set in "$@"; do
    local -n list="packages_$set"
    for package in "${list[@]}"; do
      # shellcheck disable=SC2016  # dpkg-query's own variable
      [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
        missing+=("$package")
    done
  done
  if [ ${#missing[@]} = 0 ]; then
    say "packages: all there ($*)"
    return 0
  fi
  [ "$(id -u)" = 0 ] ||
    die "packages are missing: ${missing[*]}" "sudo apt-get install --no-install-recommends ${missing[*]}"
  say "packages: installing ${missing[*]}"
  with_lock "$repo/build/.apt.lock" install_missing "${missing[@]}" ||
    die "apt could not install ${missing[*]}" "apt-get update, then look at apt's message above"
}

# Lists may be absent (a fresh container) or older than the mirror: update, then retry.
install_missing() {
  if [ -n "$(apt_candidate "$1")" ] &&
    apt_get -qq install --no-install-recommends "$@" >/dev/null 2>&1; then
    return 0
  fi
  apt_get -qq update && apt_get -qq install --no-install-recommends "$@" >/dev/null
}
