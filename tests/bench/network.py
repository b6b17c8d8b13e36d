#!/usr/bin/env python3
"""Measures what each kind of NIC costs: time and CPU to set up and take down.

  network.py [--vmrig PATH] [--rounds N] [--smoke]

In a network namespace of its own: a paused VM is started and stopped with one NIC of each kind,
in turns with one of type none; prints the medians of the differences. CPU is vmrig's own, of the
command and the supervisor. It is no test and exits 0 unless it could not measure. Needs root and,
beside the standard library, unshare, mount and ip.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time

from launch import Bench, milliseconds, run_bench

INSIDE = "VMRIG_BENCH_INSIDE"

KINDS = {
    "user": {"type": "user"},
    "tap on a bridge made for it": {"type": "tap", "bridge": {"name": "benchbr", "create": True}},
    "tap with an address": {"type": "tap", "address": "192.0.2.1/24"},
    "tap with rates both ways": {"type": "tap", "address": "192.0.2.1/24",
                                 "rate": {"ingress": "100Mbit", "egress": "100Mbit"}},
    "macvtap": {"type": "macvtap", "parent": "bench0"},
}


class NetworkBench(Bench):
    def config_with(self, nic):
        path = self.config(0)
        value = json.loads(path.read_text())
        value["nics"] = [{"id": "net0", **nic}]
        path.write_text(json.dumps(value))
        return path

    def cpu_ms(self):
        """Of the children that have been waited for so far."""
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (usage.ru_utime + usage.ru_stime) * 1000

    def round(self, nic):
        """(ms to start, ms to stop, ms of CPU) of one life."""
        path = self.config_with(nic)
        name = json.loads(path.read_text())["name"]
        before = self.cpu_ms()
        start = time.monotonic_ns()
        self.run("start", "--paused", path)
        started = milliseconds(start)
        cpu = self.supervisor_cpu_ms(name)
        start = time.monotonic_ns()
        self.run("stop", "--force", name)
        return started, milliseconds(start), cpu + self.cpu_ms() - before


def measure(bench, rounds):
    kinds = dict(KINDS)
    if shutil.which("passt"):
        kinds["passt"] = {"type": "passt"}
    nothing = [bench.round({"type": "none"}) for _ in range(2)][1:]
    print(f"{'one NIC more than none at all, medians':44} {'start':>8} {'stop':>8} {'CPU':>8}  ms")
    for what, nic in kinds.items():
        differences = []
        for _ in range(rounds):
            nothing.append(bench.round({"type": "none"}))
            differences.append([mine - base for mine, base in zip(bench.round(nic), nothing[-1])])
        start, stop, cpu = (statistics.median(column) for column in zip(*differences))
        print(f"{what:44} {start:8.2f} {stop:8.2f} {cpu:8.2f}", flush=True)
    start, stop, cpu = (statistics.median(column) for column in zip(*nothing))
    print(f"{'a VM whose NIC is of type none':44} {start:8.2f} {stop:8.2f} {cpu:8.2f}")


def main():
    if INSIDE not in os.environ:
        if os.geteuid() != 0:
            print("network.py: could not measure: needs root", file=sys.stderr)
            return 1
        # /sys/class/net shows the namespace that mounted it.
        script = 'mount -t sysfs sysfs /sys && ip link set lo up && exec "$@"'
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", "sh", "-c", script, "sh", sys.executable, *sys.argv])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)

    def run(bench, options):
        subprocess.run(["ip", "link", "add", "bench0", "type", "veth", "peer", "name", "bench1"], check=True)
        for name in ("bench0", "bench1"):
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        # passt wants a way out to copy.
        subprocess.run(["ip", "addr", "add", "198.51.100.2/24", "dev", "bench0"], check=True)
        subprocess.run(["ip", "route", "add", "default", "via", "198.51.100.1"], check=True)
        measure(bench, 1 if options.smoke else options.rounds)

    return run_bench(parser, NetworkBench, run)


if __name__ == "__main__":
    sys.exit(main())
