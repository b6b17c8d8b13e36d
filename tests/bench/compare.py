#!/usr/bin/env python3
"""Measures vmrig against bare QEMU and libvirt, and prints one table; see run.sh.

  compare.py [--pairs N] [--many N] [--markdown FILE] [--json FILE] [--no-libvirt] [--smoke]

Every figure is of paired runs, the sides in turns (A B C, C B A, ...): the median, and from the
least to the most. It is no test and exits 0 unless it could not measure."""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import footprint
from hotplug import HotplugBench
from launch import REPO, find_bare, find_program, milliseconds, run_bench
from libvirt_peer import Libvirt, why_not
from prealloc import Prealloc, take_samples, with_pool
from qmp import QmpBench
import wide_host

import argparse
import re

FACTS = REPO / "tests/data/facts"


class Table:
    """Rows of samples by side; what a row is about, its unit and its target."""

    SIDES = ("vmrig", "bare", "libvirt")

    def __init__(self):
        self.rows = []
        self.notes = []

    def add(self, what, unit, samples, target=None, note=None):
        """`samples`: {side: list}; `target`: (the most that vmrig may take, as text)."""
        row = {"what": what, "unit": unit, "samples": samples, "target": target, "note": note}
        self.rows.append(row)
        print(f"{what:58} " + "  ".join(f"{side} {self.cell(row, side)}" for side in self.SIDES if samples.get(side)),
              file=sys.stderr, flush=True)

    def note(self, text):
        self.notes.append(text)
        print(text, file=sys.stderr, flush=True)

    @staticmethod
    def figure(value, unit):
        text = f"{value:.0f}" if not unit or abs(value) >= 100 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
        return f"{text} {unit}".rstrip()

    def cell(self, row, side):
        values = row["samples"].get(side)
        if not values:
            return "–"
        text = self.figure(statistics.median(values), row["unit"])
        if len(values) > 1:
            low, high = (self.figure(value, row["unit"]).split()[0] for value in (min(values), max(values)))
            text += f" ({low} to {high})"
        return text

    def verdict(self, row):
        if row["target"] is None:
            return ""
        most, text = row["target"]
        met = statistics.median(row["samples"]["vmrig"]) <= most
        return f"{text}: {'met' if met else '**missed**'}"

    def markdown(self, host):
        lines = [f"Measured by `tests/bench/run.sh` on {host['cpus']} CPUs ({host['cpu']}), kernel {host['kernel']}, "
                 f"QEMU {host['qemu']}, {host['accel']}; medians of {host['pairs']} paired runs (of a single start twice as many), least to most.",
                 "", "| | vmrig | bare QEMU | libvirt" + (f" {host['libvirt']}" if host["libvirt"] else "") +
                 " | target |", "| --- | --- | --- | --- | --- |"]
        for row in self.rows:
            cells = [row["what"], *(self.cell(row, side) for side in self.SIDES), self.verdict(row)]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines + [""] + [f"- {note}" for note in self.notes]) + "\n"

    def json(self, host):
        rows = []
        for row in self.rows:
            medians = {side: statistics.median(values) for side, values in row["samples"].items() if values}
            rows.append({**row, "target": row["target"][0] if row["target"] else None, "median": medians})
        return {"host": host, "rows": rows, "notes": self.notes}


class CompareBench(HotplugBench, QmpBench):
    """One config and one set of folders for all that is measured."""

    def __init__(self, options, folder):
        QmpBench.__init__(self, options, folder)
        self.options = options
        self.peer = None

    def turns(self, sides, count):
        """(turn, side) with the order turned round each time, so that drift hits no side in particular."""
        for turn in range(count):
            for side in sides if turn % 2 == 0 else reversed(sides):
                yield turn, side

    def children_cpu_ms(self):
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (usage.ru_utime + usage.ru_stime) * 1000

    def virsh(self, *words):
        return self.timed(self.peer.command(*words), self.peer.environment())[0]

    def sides(self):
        return ["vmrig", "bare"] + (["libvirt"] if self.peer else [])

    def rollup(self, pids):
        """(PSS, private dirty) of processes together, in MiB."""
        total = [0, 0]
        for pid in pids:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            for i, key in enumerate(("Pss", "Private_Dirty")):
                total[i] += int(re.search(rf"^{key}:\s+(\d+)", text, re.M).group(1))
        return [value / 1024 for value in total]


def others_share():
    """What others take of the CPUs, for a second in which this process does nothing."""
    def read():
        values = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
        return values[3] + values[4], sum(values)

    before = read()
    time.sleep(1)
    idle, whole = (after - first for after, first in zip(read(), before))
    return 1 - idle / whole if whole else 0


def differences(mine, theirs):
    return [one - other for one, other in zip(mine, theirs)]


def measure_launch(bench, table, pairs):
    config = bench.config(0)
    value = json.loads(config.read_text())
    bare = bench.bare_command("0", config, "--keep")
    domain = bench.peer.domain("bench0", value) if bench.peer else None
    bench.timed(bench.command("start", config))  # QEMU is probed once
    bench.stop(config)
    took = {side: [] for side in bench.sides()}
    cpu = {side: [] for side in ("vmrig", "libvirt")}
    stops = {"vmrig": [], "libvirt": []}
    for _, side in bench.turns(bench.sides(), pairs):
        before = bench.children_cpu_ms()
        if side == "vmrig":
            took[side].append(bench.timed(bench.command("start", config))[0])
            cpu[side].append(bench.children_cpu_ms() - before + bench.supervisor_cpu_ms("bench0"))
            stops[side].append(bench.stop(config))
        elif side == "bare":
            elapsed, text = bench.timed(bare)
            took[side].append(elapsed)
            bench.end(int(text.split()[0]))
        else:
            daemons = bench.peer.cpu_ms()
            took[side].append(bench.virsh("create", domain))
            cpu[side].append(bench.children_cpu_ms() - before + bench.peer.cpu_ms() - daemons)
            stops[side].append(bench.virsh("destroy", "bench0"))
    table.add("start, to a guest that runs and is pinned", "ms", took)
    over = {side: differences(took[side], took["bare"]) for side in bench.sides() if side != "bare"}
    table.add("the same above bare QEMU", "ms", over, (5, "at most 5 ms"))
    table.add("CPU time of the launcher for it", "ms", cpu, (8, "at most 8 ms"))
    table.add("end of a VM: `stop --force` after QEMU's end; `destroy`", "ms", stops)


def start_one_by_one(bench, configs, domains, side):
    start = time.monotonic_ns()
    for config, domain in zip(configs, domains):
        if side == "vmrig":
            bench.timed(bench.command("start", "--paused", config))
        else:
            bench.virsh("create", "--paused", domain)
    return milliseconds(start)


def libvirt_at_once(bench, words, objects):
    """`virsh WORDS OBJECT` for all of them, started by a shell as vmrig's are."""
    script = ('n=$1; shift; while [ "$n" -gt 0 ]; do words="$words $1"; shift; n=$((n - 1)); done\n'
              'for one; do $words "$one" >/dev/null & all="$all $!"; done\n'
              'for one in $all; do wait "$one" || exit 1; done')
    command = bench.peer.command(*words)
    start = time.monotonic_ns()
    subprocess.run(["sh", "-c", script, "sh", str(len(command)), *command, *map(str, objects)],
                   env=bench.peer.environment(), stdin=subprocess.DEVNULL, check=True, capture_output=True, timeout=120)
    return milliseconds(start)


def end_all(bench, side, configs, domains, text=""):
    if side == "vmrig":
        for config in configs:
            bench.stop(config)
    elif side == "libvirt":
        libvirt_at_once(bench, ["destroy"], [domain.stem for domain in domains])
    else:
        for line in text.splitlines()[:-1]:
            bench.end(int(line.split()[0]))


def many_configs(bench, many):
    configs = [bench.config(i) for i in range(many)]
    values = [json.loads(config.read_text()) for config in configs]
    return configs, [bench.peer.domain(value["name"], value) for value in values] if bench.peer else [None] * many


def measure_many(bench, table, many, rounds):
    configs, domains = many_configs(bench, many)
    bare = {how: bench.bare_command("@N@", configs[0], f"--{how}", str(many), "--keep", "--stopped")
            for how in ("parallel", "sequential")}
    for how, what in (("sequential", "one after another"), ("parallel", "at once")):
        took = {side: [] for side in bench.sides()}
        # One more, which is not counted: the first pays for memory and files that no later one pays for.
        for turn, side in bench.turns(bench.sides(), rounds + 1):
            text = ""
            if side == "bare":
                text = bench.timed(bare[how])[1]
                elapsed = int(text.split()[-1]) / 1000
            elif how == "sequential":
                elapsed = start_one_by_one(bench, configs, domains, side)
            else:
                elapsed = bench.many_at_once(configs) if side == "vmrig" else libvirt_at_once(bench, ["create", "--paused"], domains)
            if turn > 0:
                took[side].append(elapsed)
            end_all(bench, side, configs, domains, text)
        table.add(f"{many} VMs {what}, guests stopped", "ms", took)
        if how == "parallel":
            ratios = {side: [mine / base for mine, base in zip(took[side], took["bare"])]
                      for side in bench.sides() if side != "bare"}
            table.add("the same to bare QEMU", "times", ratios, (1.15, "at most 1.15 times"))


def measure_memory(bench, table, many):
    """The first of all: libvirtd grows as VMs come and go."""
    configs, domains = many_configs(bench, many)
    peer_pids = bench.peer.pids if bench.peer else []
    for count in (1, len(configs)):
        start_one_by_one(bench, configs[:count], domains, "vmrig")
        pss, dirty = bench.rollup(bench.processes("vmrig"))
        processes = len(bench.processes("vmrig"))
        end_all(bench, "vmrig", configs[:count], domains)
        peer = [[], []]
        if bench.peer:
            start_one_by_one(bench, configs[:count], domains, "libvirt")
            peer = [[value] for value in bench.rollup(peer_pids)]
            end_all(bench, "libvirt", configs, domains[:count])
        vms = "1 VM" if count == 1 else f"{count} VMs"
        target = (4, "at most 4 MiB") if count == 1 else None
        if count > 1:
            target = (peer[0][0], "at most libvirt's") if peer[0] else (29, "at most 29 MiB")
        table.add(f"memory of the control plane, {vms}: PSS", "MiB", {"vmrig": [pss], "libvirt": peer[0]}, target)
        table.add(f"memory of the control plane, {vms}: private dirty", "MiB", {"vmrig": [dirty], "libvirt": peer[1]},
                  (1, "at most 1 MiB") if count == 1 else None)
        table.add(f"processes of the control plane, {vms}", "", {"vmrig": [processes], "libvirt": [len(peer_pids)]
                                                                 if bench.peer else []})


def measure_hotplug(bench, table, pairs):
    machine = {"machine": {**json.loads(bench.config(0).read_text())["machine"], "hotplug_ports": 4 * pairs + 4}}
    monitor = bench.start(machine, "--paused")
    free = bench.free_ports(monitor)
    if bench.peer:
        value = json.loads(bench.config(1).read_text())
        bench.virsh("create", "--paused", bench.peer.domain("peer", value, ports=2 * pairs + 8))
    disk = {side: [] for side in bench.sides()}
    nic = {side: [] for side in bench.sides()}
    for turn, side in bench.turns(bench.sides(), pairs):
        image = bench.image(f"{side}-{turn}")
        if side == "bare":
            disk[side].append(bench.raw_attach(monitor, turn, image, free[2 * turn]))
            nic[side].append(bench.raw_attach_nic(monitor, turn, free[2 * turn + 1]))
        elif side == "vmrig":
            disk[side].append(bench.attach(turn, image))
            nic[side].append(bench.timed(bench.command(
                "attach", bench.NAME, "nic", json.dumps({"id": f"n{turn}", "type": "user"})))[0])
        else:
            xml = bench.folder / "device.xml"
            xml.write_text(f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{image}'/>"
                           f"<target dev='vd{chr(ord('b') + turn)}' bus='virtio'/></disk>")
            disk[side].append(bench.virsh("attach-device", "peer", xml))
            xml.write_text("<interface type='user'><model type='virtio'/></interface>")
            nic[side].append(bench.virsh("attach-device", "peer", xml))
    table.add("a disk for a running VM (bare: a connected client)", "ms", disk)
    table.add("a NIC for a running VM (bare: a connected client)", "ms", nic)
    bench.run("stop", bench.NAME, "--force")
    if bench.peer:
        bench.virsh("destroy", "peer")


def measure_qmp(bench, table, rounds, trips):
    bench.begin()
    if bench.peer:
        value = json.loads(bench.config(1).read_text())
        bench.virsh("create", "--paused", bench.peer.domain("peer", value))
    rates = {"vmrig": [], "bare": []}
    processes = {side: [] for side in bench.sides()}
    for _, side in bench.turns(bench.sides(), rounds):
        if side != "libvirt":
            socket = bench.shared if side == "vmrig" else bench.monitor
            rates[side].append(bench.figures(bench.raw, "round", socket, trips)[2])
        # Of several, as a process takes a millisecond or so.
        for _ in range(max(1, trips // 500)):
            if side == "vmrig":
                processes[side].append(bench.timed(bench.command("qmp", bench.NAME, "query-status"))[0])
            elif side == "bare":
                processes[side].append(bench.timed([bench.raw, "once", bench.monitor])[0])
            else:
                processes[side].append(bench.virsh("qemu-monitor-command", "peer", '{"execute":"query-status"}'))
    table.add("QMP round trips a second, one client (vmrig: the shared socket)", "", rates)
    table.add("one QMP command, a process", "ms", processes)
    bench.run("stop", bench.NAME, "--force")
    if bench.peer:
        bench.virsh("destroy", "peer")


def measure_plans(bench, table, pairs):
    config = bench.folder / "plan.json"
    config.write_text(json.dumps({"name": "plan", "profile": "nfv", "cpu": {"vcpus": 16}, "memory": {"size": "16GiB"},
                                  "nics": [{"id": "net0", "type": "user"}]}))
    took = {facts: [] for facts in ("vm-2cpu", "two-socket-72cpu", "two-socket-512cpu")}
    empty = []
    small = bench.folder / "small.json"
    small.write_text(json.dumps({"name": "plan", "memory": {"size": "1GiB"}}))
    for facts in took:  # the first one probes QEMU
        bench.timed(bench.command("plan", small, "--facts", FACTS / f"{facts}.json"))
    for _, facts in bench.turns(list(took), pairs):
        file = small if facts == "vm-2cpu" else config
        took[facts].append(bench.timed(bench.command("plan", file, "--argv", "--facts", FACTS / f"{facts}.json"))[0])
        empty.append(bench.timed(bench.command("version"))[0])
    table.add("`vmrig version`: a process that does nothing", "ms", {"vmrig": empty})
    table.add("plan of an nfv VM for 72 CPUs, facts from a file", "ms", {"vmrig": took["two-socket-72cpu"]})
    table.add("plan of an nfv VM for 512 CPUs, facts from a file", "ms", {"vmrig": took["two-socket-512cpu"]})
    table.add("plan for 512 CPUs above the smallest", "ms",
              {"vmrig": differences(took["two-socket-512cpu"], took["vm-2cpu"])})


def measure_wide(bench, table, pairs):
    """The last: this process stays on that host."""
    try:
        wide_host.enter(bench.folder / "wide")
    except OSError as fault:
        table.note(f"512 CPUs not measured: {fault}")
        return
    config = bench.config(0)
    bare = bench.bare_command("0", config, "--keep")
    bench.timed(bench.command("start", config))
    bench.stop(config)
    took = {"vmrig": [], "bare": []}
    for _, side in bench.turns(list(took), pairs):
        if side == "vmrig":
            took[side].append(bench.timed(bench.command("start", config))[0])
            bench.stop(config)
        else:
            elapsed, text = bench.timed(bare)
            took[side].append(elapsed)
            bench.end(int(text.split()[0]))
    table.add("start where sysfs has 512 CPUs, above bare QEMU", "ms", {"vmrig": differences(took["vmrig"], took["bare"])},
              (15, "at most 15 ms"))


def measure_prealloc(bench, table, options, rounds):
    prealloc = Prealloc(options, bench.folder / "prealloc")
    try:
        found = {}
        with_pool(prealloc.bytes, lambda: found.update(dict([("samples", take_samples(prealloc, rounds)[0])])))
    except OSError as fault:
        table.note(f"preallocation not measured: {fault}")
        return
    samples = found["samples"]
    table.add(f"{prealloc.bytes >> 20} MiB of 2MiB pages, net of a start without (bare: QEMU's own)", "ms",
              {"vmrig": samples["vmrig net"], "bare": samples["qemu net"]})
    table.add("populating alone, to the kernel's own way", "times",
              {"vmrig": [mine / base for mine, base in zip(samples["populate"], samples["reference"])]},
              (1.15, "at most 1.15 times"))


def measure_footprint(bench, table):
    try:
        found = footprint.measure(bench.folder, bench.vmrig)
    except (OSError, subprocess.CalledProcessError) as fault:
        table.note(f"packages not measured: {fault}")
        return
    table.add("packages beyond QEMU's on a minimal Debian", "MiB", {side: [found[side][0]] for side in found},
              (5, "at most 5 MiB"))
    table.note(f"vmrig is {found['vmrig'][2]:.1f} MiB and needs {', '.join(found['vmrig'][1]) or 'nothing more'}; "
               f"libvirt-daemon-system and libvirt-clients bring {len(found['libvirt'][1])} packages.")


def describe_host(bench, pairs, smoke):
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    return {"cpus": len(bench.cpus), "cpu": cpu.group(1) if cpu else platform.machine(), "kernel": platform.release(),
            "qemu": re.search(r"version (\S+)", version).group(1),
            "accel": json.loads(bench.config(0).read_text())["machine"]["accel"], "pairs": pairs,
            "libvirt": bench.peer.version() if bench.peer else None, "others_before": 0 if smoke else others_share()}


def run(bench, options):
    table = Table()
    pairs, many, rounds, trips = (1, 2, 1, 100) if options.smoke else (options.pairs, options.many, 5, 4000)
    reason = "not wanted" if options.no_libvirt else why_not(Path(options.libvirt))
    try:
        if reason is None:
            bench.peer = Libvirt(bench.folder, Path(options.libvirt))
            try:
                bench.peer.start()
            except OSError as fault:
                reason, bench.peer = str(fault), bench.peer.stop()
        if reason:
            table.note(f"libvirt not measured: {reason}")
        host = describe_host(bench, pairs, options.smoke)
        measures = {
            "memory": lambda: measure_memory(bench, table, many),
            "launch": lambda: measure_launch(bench, table, pairs if options.smoke else 2 * pairs),
            "many": lambda: measure_many(bench, table, many, 1 if options.smoke else rounds),
            "hotplug": lambda: measure_hotplug(bench, table, min(pairs, 12)),
            "qmp": lambda: measure_qmp(bench, table, rounds, trips),
            "plan": lambda: measure_plans(bench, table, pairs),
            "prealloc": lambda: measure_prealloc(bench, table, options, rounds),
            "footprint": lambda: measure_footprint(bench, table),
            "wide": lambda: measure_wide(bench, table, pairs),
        }
        for name in options.only.split(",") if options.only else measures:
            measures[name]()
    finally:
        if bench.peer:
            bench.peer.stop()
    host["others_after"] = 0 if options.smoke else others_share()
    if max(host["others_before"], host["others_after"]) > 0.1:
        table.note(f"The machine was not quiet (others took {host['others_before']:.0%} of its CPUs before, "
                   f"{host['others_after']:.0%} after): the figures say little.")
    markdown = table.markdown(host)
    print(markdown, end="")
    if options.markdown:
        Path(options.markdown).write_text(markdown)
    if options.json:
        Path(options.json).write_text(json.dumps(table.json(host), indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--many", type=int, default=20)
    parser.add_argument("--only", help="parts of it: memory,launch,many,hotplug,qmp,plan,prealloc,footprint,wide")
    parser.add_argument("--gib", type=int, default=2, help="preallocated")
    parser.add_argument("--markdown", help="write the table there, too")
    parser.add_argument("--json", help="write all samples there")
    parser.add_argument("--no-libvirt", action="store_true")
    parser.add_argument("--libvirt", default=str(REPO / "build/libvirt/root"), help="where libvirt is unpacked")
    parser.add_argument("--bare", help="bare_launch; built when it is not there")
    parser.add_argument("--tools", help="folder of raw_qmp")

    def prepare(options, folder):
        options.bare = options.bare or find_bare(folder)
        options.raw, options.library = find_program("raw_qmp", options.tools), None
        options.reference = find_program("populate_reference", options.tools)
        options.mib = 64 if options.smoke else options.gib << 10
        (Path(folder) / "prealloc").mkdir()

    return run_bench(parser, CompareBench, run, prepare)


if __name__ == "__main__":
    sys.exit(main())
