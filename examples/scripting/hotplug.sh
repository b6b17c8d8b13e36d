#!/bin/bash
# Gives a running VM a disk, limits it, takes it back, and waits for QEMU's word that it is gone:
#   hotplug.sh VM IMAGE [IOPS]
#     VM     name of a running VM, started with machine.hotplug_ports
#     IMAGE  a raw disk image
#     IOPS   the disk's limit, 500 when it is not given; -1 is refused by QEMU, and all is rolled back
# Leaves the VM as it was, whatever fails. Exit status 124 when the guest does not let go in time.
set -euo pipefail
vm=$1 iops=${3:-500}
IMAGE=$(realpath -- "$2")
export IMAGE
[[ $iops =~ ^-?[0-9]+$ ]] || { echo "hotplug.sh: \"$iops\" is no number" >&2; exit 2; }

attached=no events_pid=
finish() {
  local status=$?
  trap - EXIT
  set +e
  [ -z "$events_pid" ] || kill "$events_pid" 2>/dev/null
  if [ $attached = yes ]; then
    # The fault that led here is the one that counts.
    echo "hotplug.sh: rolling back" >&2
    vmrig detach "$vm" scratch0 >&2
  fi
  exit $status
}
trap finish EXIT

# A transaction of its own: when a step of it fails, nothing is left of it. vmrig puts $IMAGE in
# after parsing the JSON, so that a path may have any character.
vmrig attach "$vm" disk '{"id": "scratch0", "path": "${IMAGE}", "format": "raw"}'
attached=yes
vmrig qmp "$vm" block_set_io_throttle '{"id": "/machine/peripheral/scratch0/virtio-backend",
  "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": '"$iops"', "iops_rd": 0, "iops_wr": 0}' >/dev/null
echo "limited to $iops operations a second"

# Who wants an event has to listen before it is caused: an empty line says that none is missed.
coproc EVENTS { exec vmrig events "$vm" --match DEVICE_DELETED --timeout 60 --ready-fd 1; }
events_pid=$EVENTS_PID
exec {events}<&"${EVENTS[0]}"
read -r _ <&"$events"
attached=no
vmrig detach "$vm" scratch0
# The first one is of a part of the device, and has no name.
while IFS= read -r event <&"$events"; do
  if [[ $event == *'"device":"scratch0"'* ]]; then
    echo "$event"
    exit 0
  fi
done
echo "hotplug.sh: no DEVICE_DELETED" >&2
exit 124
