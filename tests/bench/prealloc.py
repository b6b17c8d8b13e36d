#!/usr/bin/env python3
"""Measures how long guest memory in 2MiB pages takes: vmrig, the kernel alone, QEMU alone.

  prealloc.py [--vmrig PATH] [--bare PATH] [--reference PATH] [--gib N] [--rounds N] [--smoke]

In each round one after the other, with as many threads each: the reference (MADV_POPULATE_WRITE
and no more), `vmrig start --paused` with and without prealloc, and QEMU with its own prealloc
and without, started by bare_launch. "net" is a pair's difference. Needs root, for the pool of
pages; it is put back. It is no test and exits 0 unless it could not measure.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from launch import Bench, REPO, kvm_opens  # noqa: E402

PAGE = 2 << 20
POOL = Path("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages")
TARGET = 1.15


class Prealloc(Bench):
    def __init__(self, options, folder):
        super().__init__(options, folder)
        self.reference = options.reference
        self.bytes = options.mib << 20
        self.qemu = shutil.which("qemu-system-x86_64")
        self.accel = "kvm" if kvm_opens() else "tcg"

    def write_config(self, prealloc):
        value = {
            "name": "prealloc", "machine": {"accel": self.accel},
            "memory": {"size": f"{self.bytes >> 20}MiB", "hugepages": "2MiB", "backing": "memfd",
                       "prealloc": prealloc},
            "rng": False, "serial": [],
        }
        path = self.folder / f"prealloc-{prealloc}.json"
        path.write_text(json.dumps(value))
        return path

    def start_vmrig(self, prealloc):
        """Milliseconds until it is ready, and of these what populating took by its own log."""
        took, _ = self.timed(self.command("start", "--paused", self.write_config(prealloc)))
        log = (self.state / "prealloc" / "vmrig.log").read_text()
        self.run("stop", "--force", "prealloc")
        populated = re.search(r"populated \S+ in ([\d.]+) s", log)
        return took, float(populated.group(1)) * 1000 if populated else 0.0

    def start_reference(self, threads):
        out = subprocess.run([self.reference, str(self.bytes), str(PAGE), str(threads)], check=True,
                             capture_output=True, text=True).stdout
        return int(out) / 1000

    def start_qemu(self, prealloc, threads):
        sockets = self.folder / "sockets"
        sockets.mkdir(exist_ok=True)
        memory = f"memory-backend-memfd,id=m,size={self.bytes},hugetlb=on,hugetlbsize=2M,share=on"
        if prealloc:
            memory += f",prealloc=on,prealloc-threads={threads}"
        out = subprocess.run(
            [self.bare, "--qmp-fd", "10", "--dir", str(sockets), "--stopped", "--", self.qemu,
             "-nodefaults", "-no-user-config", "-display", "none", "-S", "-m", f"{self.bytes >> 20}",
             "-object", memory, "-machine", "q35,memory-backend=m", "-accel", self.accel,
             "-chardev", "socket,id=c,fd=10,server=on,wait=off", "-mon", "chardev=c,mode=control"],
            check=True, capture_output=True, text=True, env=self.environment).stdout
        return int(out.split("\n")[0].split()[1]) / 1000

    def threads(self):
        plan = json.loads(self.run("plan", "--json", self.write_config(True)))
        cpus = plan["regions"][0]["cpus"]
        return sum(int(b or a) - int(a) + 1 for a, _, b in
                   (part.partition("-") for part in cpus.split(",")))


def spread(values):
    return f"{statistics.median(values):7.1f} ms ({min(values):.1f} to {max(values):.1f})"


def take_samples(bench, rounds):
    threads = bench.threads()
    samples = {name: [] for name in ("reference", "populate", "vmrig", "vmrig net", "qemu net")}
    for index in range(rounds + 1):
        reference = bench.start_reference(threads)
        with_pages, populate = bench.start_vmrig(True)
        without, _ = bench.start_vmrig(False)
        qemu = bench.start_qemu(True, threads) - bench.start_qemu(False, threads)
        if index == 0:
            continue  # memory that this machine itself had not backed yet
        for name, value in (("reference", reference), ("populate", populate),
                            ("vmrig", with_pages), ("vmrig net", with_pages - without),
                            ("qemu net", qemu)):
            samples[name].append(value)
    return samples, threads


def measure(bench, rounds):
    samples, threads = take_samples(bench, rounds)
    print(f"{bench.bytes >> 20} MiB in 2MiB pages, {threads} threads, {rounds} rounds, {bench.accel}")
    print(f"  reference, MADV_POPULATE_WRITE   {spread(samples['reference'])}")
    print(f"  vmrig start --paused, whole      {spread(samples['vmrig'])}")
    for name, text in (("populate", "vmrig, populating alone"),
                       ("vmrig net", "vmrig, net to QMP ready"),
                       ("qemu net", "QEMU's own prealloc, net")):
        ratio = statistics.median(samples[name]) / statistics.median(samples["reference"])
        target = "" if name == "qemu net" else f", target at most {TARGET}"
        print(f"  {text:<32} {spread(samples[name])}   {ratio:.2f} times the reference{target}")


def with_pool(bytes_wanted, action):
    before = int(POOL.read_text())
    wanted = before + bytes_wanted // PAGE
    try:
        POOL.write_text(str(wanted))
        if int(POOL.read_text()) < wanted:
            raise OSError(f"only {int(POOL.read_text()) - before} of {wanted - before} pages")
        action()
    finally:
        POOL.write_text(str(before))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vmrig", default=str(REPO / "build/release/launcher/vmrig"))
    parser.add_argument("--bare", default=str(REPO / "build/release/tests/bench/bare_launch"))
    parser.add_argument("--reference",
                        default=str(REPO / "build/release/tests/bench/populate_reference"))
    parser.add_argument("--gib", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--smoke", action="store_true", help="once, with little memory")
    options = parser.parse_args()
    options.mib = 64 if options.smoke else options.gib << 10
    with tempfile.TemporaryDirectory(prefix="vmrig-bench-") as folder:
        bench = Prealloc(options, folder)
        if bench.qemu is None:
            print("SKIPPED: bench prealloc: no qemu-system-x86_64")
            return 0
        try:
            with_pool(bench.bytes, lambda: measure(bench, 1 if options.smoke else options.rounds))
        except OSError as fault:
            print(f"SKIPPED: bench prealloc: no pages: {fault}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
