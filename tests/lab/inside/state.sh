# The host state that a case has to put back, as sorted text, and the way to force it back.
# Forks are dear under TCG: what a shell can read by itself is read that way.

# value FILE: its first line, or nothing.
value() {
  value=
  [ ! -r "$1" ] || IFS= read -r value 2>/dev/null <"$1" || :
}

# state_snapshot: prints links, PCI drivers, VFs, hugepage pools, mounts, cgroups, files of vmrig.
# Carrier and operational state are left out: they change by themselves.
state_snapshot() {
  local path line fields
  for path in /sys/class/net/*; do
    line="link ${path##*/}"
    value "$path/address" && line+=" mac $value"
    value "$path/mtu" && line+=" mtu $value"
    value "$path/flags" && line+=" flags $value"
    [ ! -e "$path/master" ] || line+=" in a bridge or bond"
    echo "$line"
  done
  ip -o -4 addr show | while read -r _ path _ line _; do echo "address $path $line"; done
  ip -4 route show table all | sed 's/^/route /'
  tc qdisc show | awk '{print "qdisc", $2, "on", $5}' | sort -u
  ip netns list 2>/dev/null | sed 's/^/netns /'
  for path in /sys/bus/pci/devices/*; do
    line="pci ${path##*/} driver "
    [ -e "$path/driver" ] && fields=$(readlink "$path/driver") && line+=${fields##*/}
    value "$path/driver_override" && line+=" override $value"
    value "$path/sriov_numvfs" && line+=" vfs $value"
    value "$path/sriov_drivers_autoprobe" && line+=" autoprobe $value"
    echo "$line"
  done
  for path in /sys/devices/system/node/node*/hugepages/*; do
    line="pool ${path#/sys/devices/system/node/}"
    value "$path/nr_hugepages" && line+=" total $value"
    value "$path/free_hugepages" && line+=" free $value"
    value "$path/surplus_hugepages" && line+=" surplus $value"
    echo "$line"
  done
  while read -r _ _ _ _ path fields; do
    echo "mount $path ${fields#*- }"
  done </proc/self/mountinfo
  # The runner's own group for the case comes and goes.
  find /sys/fs/cgroup -mindepth 1 -type d ! -path /sys/fs/cgroup/case -printf 'cgroup %p\n' | sort
  find /run/vmrig -mindepth 1 -printf 'file %p\n' 2>/dev/null | sort
  find /dev/hugepages /dev/hugepages1G -mindepth 1 -printf 'file %p\n' | sort
  # Tasks with no command line are the kernel's; PID 1 and the runner are always there.
  for path in /proc/[0-9]*; do
    [ "${path#/proc/}" = 1 ] || [ "${path#/proc/}" = "$$" ] || [ "${path#/proc/}" = "$BASHPID" ] && continue
    IFS= read -r -d '' line 2>/dev/null <"$path/cmdline" || continue
    read -r fields 2>/dev/null <"$path/cgroup" || continue
    # Children of this very snapshot stand where the runner stands.
    [ "$fields" = 0::/ ] || echo "process $line in $fields"
  done
}

# state_restore BASELINE_FILE: ends what is left over and puts the rest back as far as that
# goes, so that the next case starts clean. Only ever runs after a case that failed.
state_restore() {
  local baseline=$1 path name line
  find /sys/fs/cgroup -mindepth 1 -depth -type d | while read -r path; do
    grep -qxF "cgroup $path" "$baseline" && continue
    echo 1 >"$path/cgroup.kill" 2>/dev/null
    [ "$path" = /sys/fs/cgroup/case ] || timeout 5 rmdir "$path" 2>/dev/null
  done
  for path in /sys/bus/pci/devices/*; do
    [ -e "$path/driver_override" ] || continue
    value "$path/driver_override"
    [ "$value" = "(null)" ] || [ -z "$value" ] || echo >"$path/driver_override"
    name=$(readlink "$path/driver" 2>/dev/null)
    if [ "${name##*/}" = vfio-pci ]; then
      echo "${path##*/}" >"$path/driver/unbind"
      echo "${path##*/}" >/sys/bus/pci/drivers_probe
    fi
    value "$path/sriov_numvfs"
    [ "${value:-0}" = 0 ] || echo 0 >"$path/sriov_numvfs"
  done
  for path in /sys/class/net/*; do
    name=${path##*/}
    grep -q "^link $name " "$baseline" || ip link del "$name"
    ip link set "$name" nomaster 2>/dev/null
    ip -4 addr flush dev "$name" 2>/dev/null
  done
  ip addr add 127.0.0.1/8 dev lo 2>/dev/null
  while read -r _ name _ _ _ line _; do ip link set "$name" mtu "$line" 2>/dev/null; done < <(grep '^link ' "$baseline")
  ip link set pf0 up
  ip link set pf1 up
  tac /proc/self/mountinfo | while read -r _ _ _ _ path _; do
    grep -q "^mount $path " "$baseline" || umount -l "$path"
  done
  rm -rf /run/vmrig /dev/hugepages/* /dev/hugepages1G/*
  while read -r _ name _ line _; do
    echo "$line" >"/sys/devices/system/node/$name/nr_hugepages"
  done < <(grep '^pool ' "$baseline")
}
