#!/bin/bash
# The Debian packages where nobody has built anything: makes them, installs them by apt in a minimal
# Debian 12, runs the quickstart there with Debian's QEMU, and purges them again. All of it in
# namespaces of its own, without network, on a layer in memory over build/bookworm.
#   package.sh
# Exit 77: can't be done here, with the reason.
set -euo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"
base=$repo/build/bookworm
packages=$repo/build/package
guest=${VMRIG_GUEST:-$repo/build/guest}

# Everything that is there but what apt and dpkg keep for themselves.
files_below() {
  (cd "$1" && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/cache/apt -o -path ./var/log \
    -o -path ./var/cache/debconf -o -path ./tmp -o -path ./packages -o -path ./guest -o -path ./proc -o -path ./sys \
    -o -path ./dev -o -path ./var/cache/ldconfig \) -prune -o -print | LC_ALL=C sort)
}

in_chroot() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 VMRIG_GUEST=/guest "$@"; }

# Words for apt-get in the chroot; what it says is shown when it fails.
apt_there() {
  in_chroot DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o APT::Sandbox::User=root \
    -o DPkg::Options::=--force-unsafe-io "$@" >"$root/tmp/apt.log" 2>&1 || {
    tail -n 20 "$root/tmp/apt.log" >&2
    die "apt-get $* failed in the chroot"
  }
}

installed() { in_chroot dpkg-query -W -f '${Package} ${Installed-Size}\n' | LC_ALL=C sort; }

inside() {
  root=$1/root
  mount -t tmpfs -o mode=755 tmpfs "$1"
  mkdir "$1/upper" "$1/work" "$root"
  mount -t overlay -o "lowerdir=$base,upperdir=$1/upper,workdir=$1/work" overlay "$root"
  mkdir -p "$root/packages" "$root/guest"
  mount --bind "$packages" "$root/packages"
  mount --bind "$guest" "$root/guest"
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mkdir "$root/dev/pts" "$root/dev/net"
  mount -t devpts devpts "$root/dev/pts"
  local node
  # No /dev/kvm: every host has TCG.
  for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
  done
  ln -s /proc/self/fd "$root/dev/fd"
  ip link set lo up

  local vmrig_deb library_deb
  vmrig_deb=/packages/$(basename "$packages"/vmrig_*.deb)
  library_deb=/packages/$(basename "$packages"/libqmp-json-dev_*.deb)
  say "installing QEMU"
  apt_there install qemu-system-x86
  files_below "$root" >"$1/before.txt"
  installed >"$1/packages.txt"
  find "$root/run" | sort >"$1/run.txt"
  say "installing $(basename "$vmrig_deb"), then $(basename "$library_deb")"
  in_chroot apt-get -s -o APT::Install-Recommends=1 install "$vmrig_deb" >"$1/wanted.txt" 2>/dev/null
  grep -q "^Inst qemu-utils " "$1/wanted.txt" || die "vmrig does not recommend qemu-utils"
  apt_there install "$vmrig_deb"
  say "it and what it brought, in KiB: $(installed | LC_ALL=C comm -13 "$1/packages.txt" - | tr '\n' ' ')"
  apt_there install "$library_deb"

  say "the quickstart"
  local example=/usr/share/doc/vmrig/examples/quickstart.json words
  in_chroot vmrig --version
  in_chroot vmrig plan "$example" | sed 's/^/    /'
  in_chroot vmrig start "$example" --wait="vmrig guest ready"
  words=$(in_chroot vmrig console quickstart --timeout 1 </dev/null || [ $? = 124 ])
  grep "vmrig guest ready" <<<"$words" || die "the console did not show the greeting"
  in_chroot vmrig status quickstart --ready
  in_chroot vmrig verify quickstart --seconds 1 >"$1/verify.txt" || { cat "$1/verify.txt" >&2; die "vmrig verify"; }
  # Completion finds the VM, from where bash looks for it.
  words=$(in_chroot bash -c '. /usr/share/bash-completion/completions/vmrig
    COMP_LINE="vmrig stop qu" COMP_POINT=13 COMP_WORDS=(vmrig stop qu) COMP_CWORD=2; _vmrig; echo "$COMPREPLY"')
  [ "$words" = "quickstart " ] || die "bash completes \"qu\" to \"$words\""
  in_chroot vmrig stop quickstart
  for words in vmrig.1 vmrig.json.5; do
    in_chroot zcat "/usr/share/man/man${words: -1}/$words.gz" | mandoc -T utf8 >/dev/null || die "$words is no manual page"
  done
  for words in "$root"/usr/share/doc/vmrig/examples/{container/Dockerfile,kubernetes/pod.yaml,scripting/hotplug.py,host/*}; do
    [ -e "$words" ] || die "$words is not in the package"
  done

  for words in "$repo"/examples/systemd/*.service; do
    [ ! -e "$words" ] || cmp "$words" "$root/usr/lib/systemd/system/${words##*/}"
  done
  [ -d "$root/etc/vmrig" ] || die "there is no /etc/vmrig"

  say "the library, from where it is installed"
  PKG_CONFIG_PATH=$root/usr/lib/$(uname -m)-linux-gnu/pkgconfig
  export PKG_CONFIG_PATH
  # shellcheck disable=SC2046  # words, as pkg-config means them
  c++ -fsyntax-only $(pkg-config --cflags qmp-json) "$root/usr/share/doc/libqmp-json-dev/examples/hotplug/hotplug.cpp"
  [ "$(pkg-config --variable=prefix qmp-json | xargs realpath)" = "$root/usr" ] || die "qmp-json.pc is of somewhere else"

  say "purging"
  apt_there purge --autoremove vmrig libqmp-json-dev
  files_below "$root" >"$1/after.txt"
  diff "$1/before.txt" "$1/after.txt" >"$1/left.txt" || {
    head -n 20 "$1/left.txt" >&2
    die "above: files before (<) and after (>) vmrig was there"
  }
  [ "$(find "$root/run" | sort)" = "$(cat "$1/run.txt")" ] || die "left in /run: $(find "$root/run" | sort | LC_ALL=C comm -13 "$1/run.txt" -)"
}

if [ "${1:-}" = --inside ]; then
  inside "$2"
  exit
fi

[ "$(id -u)" = 0 ] || { echo "only root can make a chroot"; exit 77; }
"$repo/tests/lib/bookworm.sh" || exit 77
"$repo/tests/lib/package_build.sh"
if command -v lintian >/dev/null; then
  lintian --fail-on error,warning "$packages"/*.deb
else
  say "lintian is not installed: not asked"
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrig-package.XXXXXX")
trap 'rmdir "$work"' EXIT
unshare --mount --propagation private --net --pid --ipc --uts --fork --kill-child true ||
  { echo "namespaces are not allowed"; exit 77; }
unshare --mount --propagation private --net --pid --ipc --uts --fork --kill-child --mount-proc \
  "$(readlink -f "${BASH_SOURCE[0]}")" --inside "$work"
say "installed, ran, and nothing is left"
