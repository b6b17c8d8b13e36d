#!/bin/bash
# examples/host without a host to change: each file is what its reader takes, names settings that the
# kernel and vmrig know, and is in the table of its README. (The lab applies them: case 36.)
set -euo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"
example=$repo/examples/host
cd "$example"

find . -type f ! -name README.md -printf '%P\n' | while read -r file; do
  # shellcheck disable=SC2016  # the README's own backquotes
  grep -qF "| \`$file\` |" README.md || die "README.md does not tell of $file"
  head -n 1 "$file" | grep -qF "/etc/$file" || die "$file does not say where it belongs"
done

sysctl --dry-run -p sysctl.d/vmrig.conf >/dev/null || die "sysctl does not take sysctl.d/vmrig.conf"

# Kernel parameters are those that `host check` names.
GRUB_CMDLINE_LINUX_DEFAULT=quiet
. ./default/grub.d/vmrig.cfg
[ "${GRUB_CMDLINE_LINUX_DEFAULT%% *}" = quiet ] || die "vmrig.cfg forgets the parameters that were there"
for parameter in ${GRUB_CMDLINE_LINUX_DEFAULT#quiet}; do
  grep -rqF "${parameter%%=*}=" "$repo"/hostcfg/host_check*.cpp || die "host check knows no ${parameter%%=*}"
done

# Written where there is such a file: tmpfiles goes by a root folder of ours.
root=$(mktemp -d "${TMPDIR:-/tmp}/vmrig-host.XXXXXX")
trap 'rm -rf "$root"' EXIT
pools=sys/devices/system/node
for file in $pools/node{0,1}/hugepages/hugepages-2048kB/nr_hugepages sys/kernel/mm/transparent_hugepage/enabled sys/kernel/mm/ksm/run; do
  install -D /dev/null "$root/$file"
done
if command -v systemd-tmpfiles >/dev/null; then
  systemd-tmpfiles --root="$root" --create "$example/tmpfiles.d/vmrig.conf"
  for expected in $pools/node{0,1}/hugepages/hugepages-2048kB/nr_hugepages:512 \
    sys/kernel/mm/transparent_hugepage/enabled:madvise sys/kernel/mm/ksm/run:2; do
    [ "$(cat "$root/${expected%:*}")" = "${expected#*:}" ] || die "tmpfiles did not write ${expected#*:} to ${expected%:*}"
  done
  install -D -m 644 -t "$root/etc/systemd/system" systemd/system/dev-hugepages1G.mount
  systemd-analyze verify --man=no "$root/etc/systemd/system/dev-hugepages1G.mount"
else
  echo "SKIPPED: systemd-tmpfiles and systemd-analyze are not installed"
fi
# Its module is not loaded, but it reads the options.
if command -v modprobe >/dev/null; then
  [ "$(modprobe -C modprobe.d -c 2>/dev/null | grep -c '^options kvm_.* nested=1$')" = 2 ] || die "modprobe does not read modprobe.d"
fi
say "the host's example is whole"
