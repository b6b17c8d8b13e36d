#!/usr/bin/env python3
"""Gives a running VM a disk, limits it, takes it back, and waits for QEMU's word that it is gone.

    hotplug.py SOCKET IMAGE [IOPS]
      SOCKET  the VM's qmp.sock (/run/vmrig/NAME/qmp.sock)
      IMAGE   a raw disk image
      IOPS    the disk's limit, 500 when it is not given; -1 is refused by QEMU, and all is rolled back

Nothing but the standard library: the socket speaks plain QMP, one JSON object a line, to any number
of clients at once, and has vmrig's own commands beside QEMU's. Leaves the VM as it was, whatever
fails; exit status 1 then, 124 when the guest does not let go in time.
"""
import json
import os
import socket
import sys

DISK = "scratch0"
PATIENCE_S = 60


class QmpError(Exception):
    """An error reply: its class, and QEMU's or vmrig's own words."""


class Qmp:
    """One connection. Events that come while a reply is awaited are kept."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rw", encoding="utf-8", newline="\n")
        self.events = []
        self.last_id = 0
        greeting = self.receive()
        if "QMP" not in greeting:
            raise QmpError(f"no greeting: {greeting}")
        self.execute("qmp_capabilities")

    def receive(self):
        line = self.stream.readline()
        if not line:
            raise QmpError("the VM has ended")
        return json.loads(line)

    def execute(self, command, **arguments):
        self.last_id += 1
        self.stream.write(json.dumps(
            {"execute": command, "arguments": arguments, "id": self.last_id}) + "\n")
        self.stream.flush()
        while True:
            message = self.receive()
            if "event" in message:
                self.events.append(message)
            elif message.get("id") == self.last_id:
                if "error" in message:
                    raise QmpError(f"{command}: {message['error']['desc']}")
                return message["return"]

    def wait_event(self, matches):
        """The first event that `matches`, those that have come already first."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if matches(event):
                    return event
            message = self.receive()
            if "event" in message:
                self.events.append(message)


def is_gone(event):
    # QEMU tells of a part of the device first, without a name.
    return event["event"] == "DEVICE_DELETED" and event["data"].get("device") == DISK


def main():
    if len(sys.argv) not in (3, 4):
        print(__doc__, file=sys.stderr)
        return 2
    vm = Qmp(sys.argv[1])
    iops = int(sys.argv[3]) if len(sys.argv) == 4 else 500

    # A transaction of its own: when a step of it fails, nothing is left of it.
    vm.execute("vmrig-attach", kind="disk",
               device={"id": DISK, "path": os.path.abspath(sys.argv[2]), "format": "raw"})
    print(f"attached {DISK}")
    try:
        vm.execute("block_set_io_throttle", id=f"/machine/peripheral/{DISK}/virtio-backend",
                   bps=0, bps_rd=0, bps_wr=0, iops=iops, iops_rd=0, iops_wr=0)
        print(f"limited to {iops} operations a second")
    finally:
        # On the way out, too: the fault is the one that is told.
        vm.execute("vmrig-detach", id=DISK, timeout=PATIENCE_S / 2)
    print(json.dumps(vm.wait_event(is_gone)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TimeoutError:
        print("hotplug.py: time up", file=sys.stderr)
        sys.exit(124)
    except (QmpError, OSError, ValueError) as fault:
        print(f"hotplug.py: {fault}", file=sys.stderr)
        sys.exit(1)
