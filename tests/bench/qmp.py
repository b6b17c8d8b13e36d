#!/usr/bin/env python3
"""Measures QMP: libqmp-json and the shared socket against a minimal raw client.

  qmp.py [--vmrig PATH] [--tools DIR] [--rounds N] [--trips N] [--smoke]

One QEMU, started paused by vmrig, with a monitor of its own beside the one that the
supervisor holds. Round trips of query-status on that monitor by raw_qmp and through
libqmp-json, and by raw_qmp on the shared socket, in turns; then whole processes,
`vmrig qmp NAME query-status` against raw_qmp's. Prints each figure beside its target; it is
no test and exits 0 unless it could not measure. Needs only the standard library.
"""

import argparse
import json
import statistics
import subprocess
import sys

from launch import Bench, find_program, run_bench


class QmpBench(Bench):
    NAME = "bench0"

    def __init__(self, options, folder):
        super().__init__(options, folder)
        self.raw, self.library = options.raw, options.library
        sockets = self.folder / "sockets"
        sockets.mkdir()
        # QEMU may run as a user of its own.
        sockets.chmod(0o777)
        self.monitor = str(sockets / "monitor")
        self.shared = str(self.state / self.NAME / "qmp.sock")

    def begin(self):
        path = self.config(0)
        value = json.loads(path.read_text())
        value["qemu_args"] = ["-qmp", f"unix:{self.monitor},server=on,wait=off"]
        path.write_text(json.dumps(value))
        self.run("start", "--paused", path)

    def figures(self, *argv):
        """(microseconds at the median, at p99, a second's worth of round trips)."""
        done = subprocess.run(list(map(str, argv)), env=self.environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, argv[:3]))}: exit {done.returncode}\n{done.stderr}")
        count, total, median, p99 = map(float, done.stdout.split())
        return median, p99, count / total * 1e6


def show(what, value, target=None, more=True, note=""):
    verdict = ""
    if target is not None:
        met = value >= target if more else value <= target
        verdict = f"  target {'>=' if more else '<='} {target:g}  {'met' if met else 'MISSED'}"
    print(f"{what:48} {value:9.2f}{verdict}  {note}".rstrip(), flush=True)


def measure(bench, rounds, trips):
    bench.begin()
    sides = {
        "raw": ("raw client, direct", [bench.raw, "round", bench.monitor, trips]),
        "async": ("libqmp-json, direct", [bench.library, "async", bench.monitor, trips]),
        "sync": ("libqmp-json's SyncClient, direct", [bench.library, "sync", bench.monitor, trips]),
        "shared": ("raw client, shared socket", [bench.raw, "round", bench.shared, trips]),
        "both": ("libqmp-json, shared socket", [bench.library, "async", bench.shared, trips]),
    }
    seen = {side: [] for side in sides}
    for turn in range(rounds):
        # The order turns round, so that drift within a round hits no side in particular.
        order = list(sides) if turn % 2 == 0 else list(reversed(sides))
        for side in order:
            seen[side].append(bench.figures(*sides[side][1]))
    for side, (what, _) in sides.items():
        median, p99, rate = (statistics.median(column) for column in zip(*seen[side]))
        show(f"{what}, trips a second", rate, note=f"(p50 {median:.0f} us, p99 {p99:.0f} us)")
    for side, target in (("async", 0.9), ("sync", 0.9), ("shared", 0.6), ("both", None)):
        rate = statistics.median(mine[2] / raw[2] for mine, raw in zip(seen[side], seen["raw"]))
        p99 = statistics.median(raw[1] / mine[1] for mine, raw in zip(seen[side], seen["raw"]))
        show(f"{sides[side][0]}: rate to raw, median of pairs", rate, target)
        show(f"{sides[side][0]}: raw's p99 to its", p99, target)

    runs = max(1, trips // 20)
    ours = bench.command("qmp", bench.NAME, "query-status")
    processes = {"ours": [], "bare": [], "bare_shared": []}
    for turn in range(rounds):
        for side in list(processes) if turn % 2 == 0 else list(reversed(processes)):
            argv = ours if side == "ours" else [bench.raw, "once", bench.monitor if side == "bare" else bench.shared]
            processes[side].append(bench.figures(bench.raw, "spawn", runs, *argv))
    for side, what in (("ours", "vmrig qmp NAME query-status"), ("bare", "raw_qmp once, direct"),
                       ("bare_shared", "raw_qmp once, shared socket")):
        median, p99, _ = (statistics.median(column) for column in zip(*processes[side]))
        show(f"{what}, a process, ms", median / 1000, note=f"(p99 {p99 / 1000:.2f})")
    ratio = statistics.median(mine[0] / bare[0] for mine, bare in zip(processes["ours"], processes["bare"]))
    show("vmrig qmp to raw_qmp direct, median of pairs", ratio, 2.5, more=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tools", help="folder of raw_qmp and lib_qmp")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--trips", type=int, default=4000)

    def prepare(options, _folder):
        options.raw = find_program("raw_qmp", options.tools)
        options.library = find_program("lib_qmp", options.tools)

    def run(bench, options):
        measure(bench, *((1, 100) if options.smoke else (options.rounds, options.trips)))

    return run_bench(parser, QmpBench, run, prepare)


if __name__ == "__main__":
    sys.exit(main())
