#!/usr/bin/env python3
"""Measures hotplug: `vmrig attach` and `vmrig detach` of a disk against the raw QMP sequence.

  hotplug.py [--vmrig PATH] [--pairs N] [--smoke]

Attach: a paused VM; in turns the three QMP commands of a disk on a monitor of their own, by a
client that is connected already, and the whole process of `vmrig attach`; beside it what any
process costs here. Detach: a booted guest; from QEMU's DEVICE_DELETED to the end of `vmrig
detach`. Prints each figure beside its target; it is no test and exits 0 unless it could not
measure. Needs only the standard library, and the guest of tests/guest/build.sh for detach.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from launch import DEADLINE_S, REPO, Bench, milliseconds, run_bench


class Monitor:
    """A connected QMP client; events are kept."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")
        self.events = []
        json.loads(self.lines.readline())
        self.execute("qmp_capabilities")

    def read(self):
        return json.loads(self.lines.readline())

    def execute(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            message = self.read()
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise RuntimeError(f"{command}: {message['error']['desc']}")
            else:
                return message["return"]

    def wait_event(self, name, device):
        while True:
            for event in self.events:
                if event["event"] == name and event.get("data", {}).get("device") == device:
                    self.events.remove(event)
                    return event
            self.events.append(self.read())


class HotplugBench(Bench):
    NAME = "bench0"

    def start(self, changes, *words):
        sockets = self.folder / f"sockets-{time.monotonic_ns()}"
        sockets.mkdir()
        # QEMU may run as a user of its own.
        sockets.chmod(0o777)
        path = self.config(0)
        value = json.loads(path.read_text())
        value.update(changes)
        value["qemu_args"] = ["-qmp", f"unix:{sockets}/monitor,server=on,wait=off"]
        path.write_text(json.dumps(value))
        self.run("start", path, *words)
        return Monitor(f"{sockets}/monitor")

    def image(self, number):
        path = self.folder / f"plug-{number}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "64M"], check=True)
        path.chmod(0o666)
        return str(path)

    def raw_attach(self, monitor, number, path, bus):
        start = time.monotonic_ns()
        monitor.execute("blockdev-add", **{"driver": "file", "node-name": f"r{number}-file", "filename": path})
        monitor.execute("blockdev-add", **{"driver": "qcow2", "node-name": f"r{number}-format",
                                           "file": f"r{number}-file"})
        monitor.execute("device_add", driver="virtio-blk-pci", id=f"r{number}", drive=f"r{number}-format", bus=bus)
        return milliseconds(start)

    def raw_attach_nic(self, monitor, number, bus):
        start = time.monotonic_ns()
        monitor.execute("netdev_add", type="user", id=f"rn{number}-host")
        monitor.execute("device_add", driver="virtio-net-pci", id=f"rn{number}", netdev=f"rn{number}-host", bus=bus)
        return milliseconds(start)

    def free_ports(self, monitor):
        """vmrig takes them from the end."""
        ports = sorted((entry["name"] for entry in monitor.execute("qom-list", path="/machine/peripheral")
                        if entry["name"].startswith("vmrig-port")), key=lambda name: int(name[len("vmrig-port"):]))
        return [p for p in ports if not any(e["name"].startswith("child[") for e in monitor.execute(
            "qom-list", path=f"/machine/peripheral/{p}/{p}"))]

    def attach(self, number, path):
        device = json.dumps({"id": f"d{number}", "path": path})
        return self.timed(self.command("attach", self.NAME, "disk", device))[0]


def show(what, value, target=None, note=""):
    verdict = "" if target is None else f"  target <= {target:g}  {'met' if value <= target else 'MISSED'}"
    print(f"{what:52} {value:8.2f} ms{verdict}  {note}".rstrip(), flush=True)


def spread(values):
    return f"({min(values):.2f} to {max(values):.2f}, {len(values)})"


def measure_attach(bench, pairs):
    monitor = bench.start({"machine": {"type": "q35", "accel": "auto", "hotplug_ports": 2 * pairs + 2}}, "--paused")
    free = bench.free_ports(monitor)
    raw, ours, nothing = [], [], []
    for number in range(pairs):
        paths = bench.image(f"r{number}"), bench.image(f"d{number}")
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            if side == 0:
                raw.append(bench.raw_attach(monitor, number, paths[0], free[number]))
            else:
                ours.append(bench.attach(number, paths[1]))
        nothing.append(bench.timed(["/bin/true"])[0])
    show("attach a disk: raw QMP, connected client", statistics.median(raw), note=spread(raw))
    show("attach a disk: vmrig attach, a process", statistics.median(ours), note=spread(ours))
    show("a process that does nothing: /bin/true", statistics.median(nothing), note=spread(nothing))
    above = [mine - theirs for mine, theirs in zip(ours, raw)]
    show("vmrig attach above raw, median of pairs", statistics.median(above), 3, spread(above))
    bench.run("stop", bench.NAME, "--force")


def measure_detach(bench, guest, pairs):
    boot = {"kernel": str(guest / "vmlinuz"), "initrd": str(guest / "initrd.img"), "cmdline": "console=ttyS0 quiet"}
    monitor = bench.start({"machine": {"type": "q35", "accel": "tcg"}, "boot": boot},
                          "--wait", "vmrig guest ready", "--timeout", "90")
    after, whole = [], []
    for number in range(pairs):
        bench.attach(number, bench.image(f"g{number}"))
        whole.append(bench.timed(bench.command("detach", bench.NAME, f"d{number}"))[0])
        stamp = monitor.wait_event("DEVICE_DELETED", f"d{number}")["timestamp"]
        after.append((bench.ended - stamp["seconds"] - stamp["microseconds"] / 1e6) * 1000)
    show("detach a disk: vmrig detach, the guest's time in it", statistics.median(whole), note=spread(whole))
    show("vmrig detach's end after DEVICE_DELETED", statistics.median(after), 3, spread(after))
    bench.run("stop", bench.NAME, "--force")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    guest = Path(os.environ.get("VMRIG_GUEST", REPO / "build/guest"))

    def run(bench, options):
        pairs = 1 if options.smoke else options.pairs
        measure_attach(bench, pairs)
        if (guest / "vmlinuz").exists():
            measure_detach(bench, guest, pairs)
        else:
            print("detach not measured: no guest (tests/guest/build.sh makes it)")

    return run_bench(parser, HotplugBench, run)


if __name__ == "__main__":
    sys.exit(main())
