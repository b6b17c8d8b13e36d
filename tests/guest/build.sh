#!/bin/bash
# Builds the small Linux guest that tests and examples boot: Debian's kernel and a
# busybox initramfs. Needs apt's archive and cpio; installs nothing on the host.
#   build.sh [OUTDIR]      default <repo>/build/guest
# Makes OUTDIR/vmlinuz (an ELF kernel that boots fast), OUTDIR/bzImage (the same as Debian
# packs it, for UEFI), OUTDIR/initrd.img and OUTDIR/kernel (the unpacked package, for those
# who want more modules). Boots fastest with the kernel command line
#   console=ttyS0 quiet panic=-1 Skips when up to date; safe to run several at once.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

out=${1:-$repo/build/guest}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$out"
out=$(cd "$out" && pwd)

# What a guest may meet; dependencies follow from modules.dep. Loaded on demand by alias.
modules=(virtio_pci virtio_blk virtio_net virtio_scsi virtio_console virtio-rng virtio_balloon
  virtio_mem sd_mod nvme igbvf e1000 e1000e button evdev i6300esb lpc_ich i2c-i801 iTCO_wdt ib700wdt pvpanic-mmio xhci-pci usb-storage usbhid hid-generic
  ext4 crc32c_generic 9p 9pnet_virtio virtiofs nls_ascii vfat nls_cp437 af_packet)

scripts_hash() { cat "$here/build.sh" "$here"/root/* | sha256sum | cut -c1-16; }

# The candidate version of the kernel and of busybox, with this folder's contents.
wanted_stamp() {
  local kernel
  kernel=$(LC_ALL=C apt-cache depends linux-image-amd64 2>/dev/null |
    awk '$1 == "Depends:" && $2 ~ /^linux-image-/ {print $2; exit}')
  echo "${kernel:-unknown} $(apt_candidate "${kernel:-linux-image-amd64}")" \
    "busybox $(apt_candidate busybox-static)" \
    "scripts $(scripts_hash)"
}

# Copies the modules named and all they depend on from the unpacked kernel into $1.
copy_modules() {
  local target=$1 base=$2 busybox=$3 version
  version=$(basename "$base")
  [ -f "$base/modules.dep" ] || "$busybox" depmod -b "${base%/lib/modules/*}" "$version" 2>/dev/null
  local name file
  for name in "${modules[@]}"; do
    # In modules.dep a line is "path: paths of what it needs"; file names use _ or -.
    awk -v want="${name//-/_}" '{
        file = $1; sub(/:$/, "", file); base = file; sub(/.*\//, "", base); sub(/\.ko$/, "", base)
        gsub(/-/, "_", base)
        if (base == want) { $1 = file; for (i = 1; i <= NF; i++) print $i }
      }' "$base/modules.dep"
  done | sort -u | while read -r file; do
    install -D -m 644 "$base/$file" "$target/lib/modules/$version/$file"
  done
  cp "$base"/modules.order "$base"/modules.builtin "$target/lib/modules/$version/"
  "$busybox" depmod -b "$target" "$version"
}

# Asking apt takes two seconds, so a guest of today from these very scripts is taken as it is.
fresh() {
  [ -s "$out/vmlinuz" ] && [ -s "$out/initrd.img" ] && [ -f "$out/.stamp" ] &&
    [ -z "$(find "$out/.stamp" -mmin +1440)" ] &&
    [ "$(scripts_hash)" = "$(awk '{print $NF}' "$out/.stamp")" ]
}

# Debian's bzImage unpacks itself with xz, three seconds under TCG: take the ELF kernel out
# of it (linux Documentation/x86/boot.rst: setup_sects, payload_offset, payload_length), which
# QEMU starts by its PVH entry. Firmware other than SeaBIOS wants the bzImage.
unpack_kernel() {
  local image=$1 target=$2 sectors offset length
  sectors=$(od -An -tu1 -j 497 -N 1 "$image")
  offset=$(od -An -tu4 -j 584 -N 4 "$image")
  length=$(od -An -tu4 -j 588 -N 4 "$image")
  # Four bytes after the stream hold the unpacked size.
  dd if="$image" bs=1M iflag=skip_bytes,count_bytes skip=$(((sectors + 1) * 512 + offset)) \
    count=$((length - 4)) status=none | xz -dc >"$target"
}

build() {
  if fresh; then
    say "guest: up to date ($out)"
    return 0
  fi
  apt_need_lists linux-image-amd64
  local stamp
  stamp=$(wanted_stamp)
  if [ -s "$out/vmlinuz" ] && [ -s "$out/initrd.img" ] && [ "$(cat "$out/.stamp" 2>/dev/null)" = "$stamp" ]; then
    touch "$out/.stamp"
    say "guest: up to date ($out)"
    return 0
  fi
  local kernel=${stamp%% *}
  [ "$kernel" != unknown ] || die "apt does not know linux-image-amd64" "apt-get update"
  local work="$out/.tmp"
  rm -rf "$work"
  mkdir -p "$work/deb" "$work/root"

  # The unpacked kernel is kept: it is the bulk of the download.
  if [ "$(cat "$out/kernel/.package" 2>/dev/null)" != "$(cut -d' ' -f1,2 <<<"$stamp")" ]; then
    say "guest: downloading $kernel"
    apt_fetch "$work/deb" "$kernel"
    dpkg -x "$work"/deb/linux-image-*.deb "$work/kernel"
    cut -d' ' -f1,2 <<<"$stamp" >"$work/kernel/.package"
    rm -rf "$out/kernel"
    mv "$work/kernel" "$out/kernel"
  fi
  say "guest: building the initramfs"
  apt_fetch "$work/deb" busybox-static
  dpkg -x "$work"/deb/busybox-static_*.deb "$work/busybox"

  local root="$work/root" busybox="$work/busybox/bin/busybox"
  mkdir -p "$root"/{bin,dev,etc/acpi/PWRF,mnt,proc,run,sys,tmp,sbin}
  install -m 755 "$busybox" "$root/bin/busybox"
  local applet
  for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
  done
  # The kernel's own name for the module loader.
  ln -s ../bin/busybox "$root/sbin/modprobe"
  install -m 755 "$here/root/init" "$root/init"
  install -m 755 "$here"/root/{agent,await,hotplug,run,udhcpc-script} "$root/bin/"
  install -m 755 "$here/root/power-button" "$root/etc/acpi/PWRF/00000080"
  copy_modules "$root" "$(echo "$out"/kernel/lib/modules/*)" "$busybox"

  # Same input, same bytes: fixed times and owners, sorted names.
  find "$root" -exec touch -h -d @0 {} +
  (cd "$root" && find . | LC_ALL=C sort | cpio --quiet --reproducible -o -H newc -R 0:0) |
    gzip -n -9 >"$work/initrd.img"
  install -m 644 "$out"/kernel/boot/vmlinuz-* "$work/bzImage"
  unpack_kernel "$work/bzImage" "$work/vmlinuz"
  rm -f "$out/.stamp"
  mv "$work/vmlinuz" "$work/bzImage" "$work/initrd.img" "$out/"
  echo "$stamp" >"$out/.stamp"
  rm -rf "$work"
  say "guest: ready ($out: $(du -h "$out/initrd.img" | cut -f1) initrd.img, $(basename "$out"/kernel/lib/modules/*))"
}

for tool in cpio xz flock; do
  command -v "$tool" >/dev/null || die "$tool is missing" "apt-get install cpio xz-utils util-linux"
done
with_lock "$out/.lock" build
