#!/usr/bin/env python3
"""Measures vmrig against bare QEMU: paired launches, stop, 20 at once, memory.

  launch.py [--vmrig PATH] [--bare PATH] [--pairs N] [--many N] [--smoke]

Prints each figure beside its target; it is no test and exits 0 unless it could not
measure. The bare side runs the very command line of `vmrig plan --argv`, driven by
bare_launch. Needs only the standard library.
"""

import argparse
import json
import os
import re
import select
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
MARK = "VMRIG_BENCH_ID"
DEADLINE_S = 60


def milliseconds(start_ns):
    return (time.monotonic_ns() - start_ns) / 1e6


def kvm_opens():
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
        return True
    except OSError:
        return False


def folder_in_memory():
    """A folder of a tmpfs, or None."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, folder, kind, *_ = line.split()
        if kind == "tmpfs" and folder in ("/run", "/dev/shm") and os.access(folder, os.W_OK):
            return folder
    return None


class Bench:
    def __init__(self, options, folder):
        self.vmrig = options.vmrig
        self.bare = getattr(options, "bare", None)
        self.folder = Path(folder)
        # In memory, as /run is, and libvirt's in its own namespace.
        self.memory_folder = tempfile.TemporaryDirectory(prefix="vmrig-bench-", dir=folder_in_memory())
        os.chmod(self.memory_folder.name, 0o755)
        self.state = Path(self.memory_folder.name) / "state"
        self.id = str(uuid.uuid4())
        self.environment = {**os.environ, MARK: self.id}
        self.cpus = sorted(os.sched_getaffinity(0))

    def config(self, index):
        """The machine of the baselines; many share the CPUs."""
        disk = self.folder / f"disk-{index}.qcow2"
        if not disk.exists():
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1G"], check=True)
            # QEMU may run as a user of its own.
            disk.chmod(0o666)
        pins = [str(self.cpus[i % len(self.cpus)]) for i in range(2)]
        value = {
            "name": f"bench{index}",
            "machine": {"type": "q35", "accel": "kvm" if kvm_opens() else "tcg"},
            "cpu": {"vcpus": 2, "pin": pins, "exclusive": False},
            "memory": {"size": "512MiB"},
            "disks": [{"id": "disk0", "path": str(disk), "format": "qcow2"}],
            "nics": [{"id": "net0", "type": "user"}],
            "serial": [{"id": "con0", "type": "socket"}],
        }
        path = self.folder / f"bench{index}.json"
        path.write_text(json.dumps(value, indent=2))
        return path

    def command(self, *words):
        return [self.vmrig, "--state-dir", str(self.state), *map(str, words)]

    def run(self, *words):
        done = subprocess.run(self.command(*words), env=self.environment, capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, timeout=DEADLINE_S)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stderr}")
        return done.stdout

    def timed(self, argv, environment=None):
        """From before exec until the process is gone; when that was, by the wall clock, is in `ended`."""
        with open(self.folder / "output", "w+") as output:
            start = time.monotonic_ns()
            pid = os.posix_spawn(argv[0], argv, environment or self.environment, file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 1), (os.POSIX_SPAWN_DUP2, output.fileno(), 2)])
            status = os.waitpid(pid, 0)[1]
            elapsed = milliseconds(start)
            self.ended = time.time()
            output.seek(0)
            text = output.read()
        if status != 0:
            raise RuntimeError(f"{' '.join(argv[:4])}: exit {os.waitstatus_to_exitcode(status)}\n{text}")
        return elapsed, text

    def bare_command(self, index_text, config, *options):
        """bare_launch with the command line that vmrig would run, every fd provided."""
        argv = shlex.split(self.run("plan", "--argv", config))
        argv[0] = shutil.which(argv[0]) or argv[0]
        argv = [word.replace("bench0", f"bench{index_text}").replace("disk-0", f"disk-{index_text}")
                for word in argv]
        monitor = None
        passed = []
        for option, word in zip(argv, argv[1:]):
            if option == "-add-fd":
                number = re.search(r"fd=(\d+)", word).group(1)
                path = re.search(r"opaque=(?:\w+:)?([^,]*)", word)
                passed += ["--open", number, path.group(1) if path
                           else str(self.folder / f"disk-{index_text}.qcow2")]
            elif option == "-chardev" and (found := re.search(r"\bfd=(\d+)", word)):
                name = re.search(r"id=([^,]+)", word).group(1)
                if any(o in ("-mon", "-qmp") and name in w for o, w in zip(argv, argv[1:])):
                    monitor = found.group(1)
                else:
                    passed += ["--listen", found.group(1)]
        if monitor is None:
            raise RuntimeError("no monitor fd in vmrig's command line: " + shlex.join(argv))
        pins = ",".join(str(self.cpus[i % len(self.cpus)]) for i in range(2))
        return [self.bare, "--qmp-fd", monitor, *passed, "--cpus", pins, "--dir", str(self.folder),
                *options, "--", *argv]

    def processes(self, *names):
        """Our processes by their mark in the environment, and the names of their programs."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if (entry.name.isdigit() and f"{MARK}={self.id}".encode() in (entry / "environ").read_bytes()
                        and any(Path(os.readlink(entry / "exe")).name.startswith(n) for n in names)):
                    found.append(int(entry.name))
            except OSError:
                pass
        return found

    def qemu_of(self, config):
        name = json.loads(config.read_text())["name"]
        for pid in self.processes("qemu"):
            if f"guest={name},".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        raise RuntimeError(f"no QEMU of {name} runs")

    def end(self, pid):
        """Kills a QEMU of ours and waits until it has gone."""
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], DEADLINE_S)
        os.close(handle)

    def stop(self, config):
        """Milliseconds that `vmrig stop --force` returns after its QEMU has gone."""
        gone = []
        handle = os.pidfd_open(self.qemu_of(config))

        def watch():
            select.select([handle], [], [], DEADLINE_S)
            gone.append(time.monotonic_ns())

        watcher = threading.Thread(target=watch)
        watcher.start()
        self.timed(self.command("stop", "--force", json.loads(config.read_text())["name"]))
        returned = time.monotonic_ns()
        watcher.join()
        os.close(handle)
        return (returned - gone[0]) / 1e6

    def memory(self):
        """(PSS, private dirty) in KiB of each supervisor."""
        rows = []
        for pid in self.processes("vmrig"):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            rows.append(tuple(int(re.search(rf"^{key}:\s+(\d+)", text, re.M).group(1))
                              for key in ("Pss", "Private_Dirty")))
        if not rows:
            raise RuntimeError("no supervisor runs")
        return rows

    def supervisor_cpu_ms(self, name):
        state = json.loads((self.state / name / "state.json").read_text())
        # The process's CPU clock (clock_getcpuclockid), with the threads that have ended.
        return time.clock_gettime((~state["supervisor"]["pid"] << 3) | 2) * 1000

    def many_at_once(self, configs):
        # A shell starts them, as an operator's script would: a fork of this interpreter costs more
        # than what is measured.
        script = '''
            for config; do "$VMRIG" --state-dir "$STATE" start --paused "$config" >/dev/null & all="$all $!"; done
            for one in $all; do wait "$one" || exit 1; done'''
        environment = {**self.environment, "VMRIG": self.vmrig, "STATE": str(self.state)}
        start = time.monotonic_ns()
        done = subprocess.run(["sh", "-c", script, "sh", *map(str, configs)], env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=DEADLINE_S)
        if done.returncode != 0:
            raise RuntimeError(f"start: {done.stderr}")
        return milliseconds(start)

    def clean(self):
        """Whatever failed, nothing of ours stays."""
        for name in ("vmrig", "qemu"):
            for pid in self.processes(name):
                self.end(pid)
        subprocess.run(self.command("recover"), env=self.environment, check=False,
                       stdin=subprocess.DEVNULL, capture_output=True)


def show(what, value, target=None, note=""):
    verdict = "" if target is None else f"  target <= {target:g}  {'met' if value <= target else 'MISSED'}"
    print(f"{what:44} {value:9.2f}{verdict}  {note}".rstrip(), flush=True)


def spread(values):
    low, high = min(values), max(values)
    return f"({low:.1f} to {high:.1f}, n={len(values)})"


def measure(bench, pairs, many):
    config = bench.config(0)
    first, _ = bench.timed(bench.command("start", config))
    bench.stop(config)
    show("first launch in an empty state folder, ms", first)

    single = bench.bare_command("0", config, "--keep")
    ours, bare, stops = [], [], []
    for turn in range(pairs):
        # Alternating which goes first cancels drift within a pair.
        for side in ("AB", "BA")[turn % 2]:
            if side == "A":
                elapsed, _ = bench.timed(bench.command("start", config))
                ours.append(elapsed)
                stops.append(bench.stop(config))
            else:
                elapsed, text = bench.timed(single)
                bare.append(elapsed)
                bench.end(int(text.split()[0]))
    ratio = statistics.median(a / b for a, b in zip(ours, bare))
    show("vmrig start, median ms", statistics.median(ours), note=spread(ours))
    show("bare QEMU, median ms", statistics.median(bare), note=spread(bare))
    show("ratio, median of pairs", ratio, 1.10)
    show("stop after QEMU's exit, median ms", statistics.median(stops), 20, spread(stops))

    bench.timed(bench.command("start", config))
    pss, dirty = bench.memory()[0]
    show("supervisor alone, PSS MiB", pss / 1024, 4, f"(private dirty {dirty / 1024:.2f})")
    bench.stop(config)

    configs = [bench.config(i) for i in range(many)]
    # Guests that run would take the CPUs from those that still start, on either side.
    together = bench.bare_command("@N@", config, "--parallel", str(many), "--keep", "--stopped")
    ratios = []
    for _ in range(1 if pairs == 1 else 3):
        _, text = bench.timed(together)
        bare_ms = int(text.split()[-1]) / 1000
        for line in text.splitlines()[:-1]:
            bench.end(int(line.split()[0]))
        ours_ms = bench.many_at_once(configs)
        ratios.append(ours_ms / bare_ms)
        rows = bench.memory()
        for one in configs:
            bench.stop(one)
    show(f"{many} starts at once, guests stopped, ms", ours_ms, note=f"(bare {bare_ms:.0f})")
    show("ratio to bare, median", statistics.median(ratios), 1.3, spread(ratios))
    show(f"supervisor with {many} running, PSS MiB each", sum(r[0] for r in rows) / len(rows) / 1024, 1,
         f"(private dirty {sum(r[1] for r in rows) / len(rows) / 1024:.2f}, {len(rows)} counted)")


def find_program(name, folder=None):
    """A program of tests/bench, as built."""
    places = [Path(folder)] if folder else [REPO / "build" / build / "tests/bench" for build in ("release", "debug")]
    for place in places:
        if (place / name).exists():
            return str(place / name)
    raise SystemExit(f"{name} is not built: cmake --build --preset release --target {name}")


def find_bare(folder):
    for build in ("release", "debug"):
        path = REPO / "build" / build / "tests/bench/bare_launch"
        if path.exists():
            return str(path)
    path = Path(folder) / "bare_launch"
    subprocess.run(["c++", "-std=c++20", "-O2", REPO / "tests/bench/bare_launch.cpp", "-o", path], check=True)
    return str(path)


def run_bench(parser, bench_class, measure, prepare=None):
    """The main function of a bench: its folder, its clean-up and its exit status.

    `prepare(options, folder)` finds what else it needs; `measure(bench, options)` prints."""
    parser.add_argument("--vmrig", default=os.environ.get("VMRIG", str(REPO / "build/release/launcher/vmrig")))
    parser.add_argument("--smoke", action="store_true", help="a few of each, so that this can't rot")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vmrig-bench-") as folder:
        # A QEMU with a user of its own has to pass through.
        os.chmod(folder, 0o755)
        if prepare:
            prepare(options, folder)
        bench = bench_class(options, folder)
        try:
            measure(bench, options)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            print(f"{Path(sys.argv[0]).name}: could not measure: {error}", file=sys.stderr)
            return 1
        finally:
            bench.clean()
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bare", help="bare_launch; built when it is not there")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--many", type=int, default=20)

    def prepare(options, folder):
        options.bare = options.bare or find_bare(folder)

    def run(bench, options):
        measure(bench, *((1, 2) if options.smoke else (options.pairs, options.many)))

    return run_bench(parser, Bench, run, prepare)


if __name__ == "__main__":
    sys.exit(main())
