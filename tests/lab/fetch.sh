#!/bin/bash
# Fetches and prepares what the lab's outer machine is made of; installs nothing.
#   fetch.sh KERNEL...     KERNEL is 6.1 (bookworm) or 6.12 (bookworm-backports)
# Makes below <repo>/build/lab:
#   tools/                    programs the host may lack, unpacked (kmod, nvme-cli, busybox…)
#   kernel-<KERNEL>/vmlinux   uncompressed when that is possible: decompressing under TCG is slow
#   kernel-<KERNEL>/modules/lib/modules/<release>   the modules that the lab can need
#   kernel-<KERNEL>/initrd.img, release
# Exit 77: not to be had here (no network, no such package); 1: it went wrong.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lab=$repo/build/lab
mirror=${VMRIG_DEBIAN_MIRROR:-http://deb.debian.org/debian}
security=${VMRIG_DEBIAN_SECURITY:-http://deb.debian.org/debian-security}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Unpacked beside the system and linked in inside, where the host has no such file.
tools=(busybox-static kmod libkmod2 nvme-cli libnvme1 libjson-c5 libdbus-1-3 libssl3 ethtool libmnl0
  iproute2 libbpf1 libelf1 libxtables12)
# Parts of the module tree that are kept; a whole 6.1 tree takes 400 MB.
module_parts=(arch block crypto lib net virt fs mm
  drivers/block drivers/char drivers/crypto/ccp drivers/dca drivers/hwmon drivers/i2c/algos drivers/iommu
  drivers/net/ethernet/intel drivers/net/phy drivers/net/bonding drivers/net/vxlan drivers/nvme drivers/pci drivers/pps drivers/ptp
  drivers/vdpa drivers/vfio drivers/vhost drivers/virtio drivers/cpufreq drivers/cpuidle)
net_modules=(tun tap macvlan macvtap ipvlan veth dummy ifb vrf mdio net_failover)
# What the initramfs loads: all that every case needs, because reading it from there is far
# faster than over 9p. Absent names (iommufd of 6.1) are passed over. A Debian host would
# have loaded these by udev, vfio and vhost on demand.
boot_modules=(virtio_pci 9pnet_virtio 9p overlay kvm_amd igb igbvf e1000 nvme vfio-pci vfio_iommu_type1
  iommufd vhost_net tun macvtap bridge)

apt_options() {
  apt=(-qq -o "Dir::Etc::SourceList=$lab/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$lab/apt/lists" -o "Dir::Cache=$lab/apt/cache")
}

# Lists of its own, so that the host's apt never learns of backports; once a run at most.
update_lists() {
  [ -z "${lists_fresh:-}" ] || return 0
  mkdir -p "$lab/apt/lists/partial" "$lab/apt/cache/archives/partial"
  local signed="deb [signed-by=$keyring]"
  printf '%s\n' "$signed $mirror bookworm main" "$signed $security bookworm-security main" \
    "$signed $mirror bookworm-backports main" >"$lab/apt/sources.list"
  say "lab: reading package lists"
  apt_get "${apt[@]}" update || { echo "lab: no package lists from $mirror" >&2; exit 77; }
  lists_fresh=yes
}

# up_to_date STAMP KEY: whether STAMP was made by this script with the same KEY.
script_hash=$(sha256sum <"${BASH_SOURCE[0]}" | cut -c1-16)
up_to_date() { [ -f "$1" ] && [ "$(cat "$1")" = "$script_hash $2" ]; }

make_tools() {
  up_to_date "$lab/tools/.stamp" "${tools[*]}" && return 0
  update_lists
  local work=$lab/tools.tmp
  rm -rf "$work"
  mkdir -p "$work/debs"
  say "lab: downloading tools"
  (cd "$work/debs" && apt_get "${apt[@]}" download "${tools[@]}" >/dev/null) ||
    { echo "lab: can't download ${tools[*]}" >&2; exit 77; }
  local deb
  for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$work"; done
  (cd "$work" && rm -rf debs usr/share usr/include usr/lib/udev etc lib/systemd)
  echo "$script_hash ${tools[*]}" >"$work/.stamp"
  rm -rf "$lab/tools"
  mv "$work" "$lab/tools"
}

# kernel_package SERIES: the image that linux-image-amd64 of that series depends on.
kernel_package() {
  LC_ALL=C apt-cache "${apt[@]}" show linux-image-amd64 |
    awk -v series="$1." '$1 == "Version:" {hit = index($2, series) == 1}
      $1 == "Depends:" && hit {print $2; exit}'
}

# extract_vmlinux BZIMAGE OUT: the ELF kernel inside, which QEMU boots through its PVH entry.
extract_vmlinux() {
  local magic tool offset
  for tool in xz zstd; do
    command -v "$tool" >/dev/null || continue
    case $tool in xz) magic='\xfd7zXZ\x00' ;; zstd) magic='\x28\xb5\x2f\xfd' ;; esac
    # shellcheck disable=SC2013  # numbers
    for offset in $(LC_ALL=C grep -aboP "$magic" "$1" | cut -d: -f1); do
      # What follows the compressed kernel is no part of the stream: the exit status says nothing.
      tail -c "+$((offset + 1))" "$1" | "$tool" -dcq >"$2" 2>/dev/null || :
      [ "$(head -c 4 "$2" | tail -c 3)" = ELF ] && return 0
    done
  done
  return 1
}

# kmod PROGRAM ARGS: the unpacked kmod under one of its names (its own links are absolute).
kmod() (
  export LD_LIBRARY_PATH=$lab/tools/lib/x86_64-linux-gnu:$lab/tools/usr/lib/x86_64-linux-gnu
  program=$1
  shift
  exec -a "$program" "$lab/tools/bin/kmod" "$@"
)

make_initrd() {
  local work=$lab/kernel-$1 release root line name
  release=$(<"$work/release")
  root=$work/initrd
  rm -rf "$root"
  mkdir -p "$root"/{bin,dev,proc,sys,lib,new,lower,rw}
  cp "$lab/tools/bin/busybox" "$root/bin/busybox"
  cp "$here/inside/initramfs.sh" "$root/init"
  chmod +x "$root/init"
  for name in "${boot_modules[@]}"; do
    kmod modprobe -d "$work/modules" -S "$release" --show-depends "$name" 2>/dev/null || :
  done | awk 'sub(/^insmod /, "") && sub(/ *$/, "") && !seen[$0]++' >"$work/boot_modules"
  : >"$root/lib/order"
  for name in 9p kvm-amd igb igbvf nvme vfio-pci vhost_net; do
    grep -q "/$name.ko\$" "$work/boot_modules" ||
      { echo "lab: kernel $release has no module $name" >&2; return 1; }
  done
  while read -r line; do
    cp "$line" "$root/lib/"
    basename "$line" >>"$root/lib/order"
  done <"$work/boot_modules"
  # Not compressed: QEMU copies it in at once, the guest would have to inflate it under TCG.
  (cd "$root" && find . | LC_ALL=C sort | "$lab/tools/bin/busybox" cpio -o -H newc 2>/dev/null) >"$work/initrd.img.tmp"
  # A running machine has read the old one already.
  mv "$work/initrd.img.tmp" "$work/initrd.img"
  rm -rf "$root" "$work/boot_modules"
}

make_kernel() {
  local series=$1 out=$lab/kernel-$1 package
  up_to_date "$out/.stamp" "$series" && return 0
  update_lists
  package=$(kernel_package "$series")
  [ -n "$package" ] || { echo "lab: no linux-image-amd64 of series $series in $mirror" >&2; exit 77; }
  local work=$out.tmp release=${package#linux-image-} part
  rm -rf "$work"
  mkdir -p "$work/deb" "$work/modules"
  say "lab: downloading $package"
  (cd "$work/deb" && apt_get "${apt[@]}" download "$package" >/dev/null) ||
    { echo "lab: can't download $package" >&2; exit 77; }
  say "lab: preparing kernel $release"
  local patterns=("./boot/vmlinuz-*" "./lib/modules/$release/modules.*")
  for part in "${module_parts[@]}"; do patterns+=("./lib/modules/$release/kernel/$part/*"); done
  for part in "${net_modules[@]}"; do patterns+=("./lib/modules/$release/kernel/drivers/net/$part.ko*"); done
  # tar complains about patterns that match nothing (a kernel without such a folder).
  dpkg-deb --fsys-tarfile "$work"/deb/*.deb |
    tar -x -C "$work/modules" --wildcards "${patterns[@]}" 2>/dev/null || :
  # 6.12's modules are xz files; inflated once here, not at each load under TCG.
  find "$work/modules" -name '*.ko.xz' -print0 | xargs -0 -r -P2 -n 64 xz -d
  kmod depmod -b "$work/modules" "$release"
  local image="$work/modules/boot/vmlinuz-$release"
  [ -f "$image" ] || { echo "lab: $package holds no vmlinuz" >&2; return 1; }
  extract_vmlinux "$image" "$work/vmlinux" || cp "$image" "$work/vmlinux"
  echo "$release" >"$work/release"
  rm -rf "$work/deb" "$work/modules/boot"
  echo "$script_hash $series" >"$work/.stamp"
  rm -rf "$out"
  mv "$work" "$out"
  say "lab: kernel $release ready"
}

fetch_all() {
  local series key
  apt_options
  # Plain calls: behind || the shell would ignore failures inside them.
  make_tools
  for series in "$@"; do
    make_kernel "$series"
    key="$series $(sha256sum <"$here/inside/initramfs.sh")"
    up_to_date "$lab/kernel-$series/.initrd" "$key" && continue
    make_initrd "$series"
    echo "$script_hash $key" >"$lab/kernel-$series/.initrd"
  done
}

[ $# -gt 0 ] || die "usage: fetch.sh KERNEL..."
with_lock "$lab/.lock" fetch_all "$@"
