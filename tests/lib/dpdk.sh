#!/bin/bash
# Unpacks DPDK's testpmd, a switch in user space that vhost-user NICs can be tested with. Installs
# nothing: Debian's dpdk-dev would bring 190 packages, of which testpmd needs some fifty libraries.
#   dpdk.sh [OUTDIR]       default <repo>/build/dpdk
# Makes OUTDIR/dpdk-testpmd, a wrapper that finds its libraries and the drivers net_vhost and
# net_tap. Exit 1: not to be had here.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

out=${1:-$repo/build/dpdk}
drivers=(mempool_ring net_vhost net_tap)
libraries=usr/lib/x86_64-linux-gnu
driver_folder=$libraries/dpdk/pmds-23.0

# The package of a library that is missing: librte_net_mlx5.so.23 is in librte-net-mlx5-23.
package_of() {
  local name=${1%%.so.*}
  name=${name//_/-}
  case $1 in
    librte_*[0-9].so.*) echo "$name-${1##*.so.}" ;;
    librte_*) echo "$name${1##*.so.}" ;;
    libpcap.so.0.8) echo libpcap0.8 ;;
    libmlx4.so.1 | libmlx5.so.1) echo ibverbs-providers ;;
    libmd.so.0) echo libmd0 ;;
    *) echo "$name${1##*.so.}" ;;
  esac
}

missing_libraries() {
  local root=$1
  {
    LD_LIBRARY_PATH=$root/$libraries ldd "$root/usr/bin/dpdk-testpmd"
    local driver
    for driver in "${drivers[@]}"; do
      LD_LIBRARY_PATH=$root/$libraries ldd "$root/$driver_folder/librte_$driver.so.23"
    done
  } | awk '/not found/ {print $1}' | sort -u
}

build() {
  if [ -x "$out/dpdk-testpmd" ] && [ "$out/.stamp" -nt "${BASH_SOURCE[0]}" ]; then
    say "dpdk: up to date ($out)"
    return 0
  fi
  apt_need_lists dpdk-dev
  local work="$out.tmp" root="$out.tmp/root" packages=(dpdk-dev) driver lost deb
  rm -rf "$work"
  mkdir -p "$work/deb" "$root"
  for driver in "${drivers[@]}"; do packages+=("librte-${driver//_/-}23"); done
  say "dpdk: downloading"
  # Each round may bring libraries that need others.
  local round
  for round in 1 2 3 4; do
    apt_fetch "$work/deb" "${packages[@]}" || { echo "dpdk: can't download ${packages[*]}" >&2; return 1; }
    for deb in "$work"/deb/*.deb; do dpkg -x "$deb" "$root"; done
    lost=$(missing_libraries "$root")
    [ -n "$lost" ] || break
    packages=()
    for lost in $lost; do packages+=("$(package_of "$lost")"); done
  done
  lost=$(missing_libraries "$root" | tr '\n' ' ')
  [ -z "$lost" ] || { echo "dpdk: libraries are missing: $lost" >&2; return 1; }
  rm -rf "$work/deb" "$root/usr/share" "$root/usr/include" "$root/$libraries"/*.a

  cat >"$work/dpdk-testpmd" <<WRAPPER
#!/bin/sh
# Runs the unpacked testpmd; exec keeps the pid.
here=\$(dirname "\$(readlink -f "\$0")")/root
# Two threads, one of which forwards, wherever this process may run.
cpus=\$(awk '/^Cpus_allowed_list/ {print \$2}' /proc/self/status)
# Its option -d takes no driver below a folder that everybody may write to, such as /tmp: they are
# loaded with the program.
export LD_LIBRARY_PATH="\$here/$libraries"
LD_PRELOAD=
for driver in ${drivers[*]}; do LD_PRELOAD="\$LD_PRELOAD \$here/$driver_folder/librte_\$driver.so.23"; done
export LD_PRELOAD
exec "\$here/usr/bin/dpdk-testpmd" --lcores "0@(\$cpus),1@(\$cpus)" "\$@"
WRAPPER
  chmod +x "$work/dpdk-testpmd"
  mkdir "$work/run"
  # It has no hugepages here, and no ports: to know the drivers is all that is asked of it.
  RUNTIME_DIRECTORY=$work/run timeout 20 "$work/dpdk-testpmd" --no-huge -m 64 --no-pci \
    --no-telemetry --no-shconf --vdev net_vhost0,iface="$work/run/v" -- \
    --disable-link-check --total-num-mbufs=2048 </dev/null >"$work/run/out" 2>&1 ||
    { tail -n 3 "$work/run/out" >&2; echo "dpdk: testpmd does not run" >&2; return 1; }
  rm -rf "$work/run"
  touch "$work/.stamp"
  rm -rf "$out"
  mv "$work" "$out"
  say "dpdk: ready ($out, $(du -sh "$out" | cut -f1))"
}

with_lock "$(dirname "$out")/.dpdk.lock" build
