#!/usr/bin/env python3
"""examples/container, built from its Dockerfile and run, without an engine: the guest boots with vmrig as
PID 1, is reached through the published port, and ends by TERM, by itself, and by a crash; with user
networking and passt, with /dev/kvm and without, within the cpuset and the hugepages that it is given.

    container.py         exit 77: can't be done here, with the reason
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))
import small_engine  # noqa: E402

REPO = pathlib.Path(__file__).resolve().parent.parent
EXAMPLE = REPO / "examples/container"
GUEST = pathlib.Path(os.environ.get("VMRIG_GUEST", REPO / "build/guest"))
BASE = REPO / "build/bookworm"
BEGIN = time.monotonic()


class Failed(Exception):
    pass


def say(text):
    print(f"[{time.monotonic() - BEGIN:6.1f}s] {text}", flush=True)


def skip(what):
    print(f"SKIPPED: {what}", flush=True)  # tests/run.sh counts it


def check(what, got, wanted):
    if got != wanted:
        raise Failed(f"{what}: {got!r} instead of {wanted!r}")


def eventually(what, question, within=60):
    """Asked until it is true, as an engine asks for a container's health."""
    end = time.monotonic() + within
    while not (answer := question()):
        if time.monotonic() > end:
            raise Failed(f"not within {within} s: {what}")
        time.sleep(0.05)
    return answer


@contextlib.contextmanager
def running(image, *command, **options):
    """A container that does not outlive the block; what it said is shown when the block fails."""
    container = small_engine.Container(image, command, **options)
    try:
        yield container
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(container.pid, signal.SIGKILL)
        with contextlib.suppress(Exception):
            container.wait(10)
        print(container.output.decode(errors="replace"), file=sys.stderr)
        raise
    finally:
        container.kill()
        # With its namespace the veth pair goes, in the kernel's own time.
        eventually("the network is gone",
                   lambda: not os.path.exists("/sys/class/net/container0"))


def status_of(container):
    return json.loads(container.exec("vmrig", "status", "vm", "--json").stdout)


def wait_until_healthy(container):
    eventually("it is healthy", lambda: container.has_ended() or container.is_healthy())
    check("it has ended", container.has_ended(), False)


def wait_for_guest(container):
    """Healthy as the Dockerfile has it, and greeted on the console."""
    wait_until_healthy(container)
    eventually("the guest's greeting", lambda: "vmrig guest ready" in
               container.exec("vmrig", "console", "vm", "--timeout", "0.2").stdout)


def fetch(address, port):
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=2) as peer:
        peer.settimeout(2)
        # Debian 12's passt does not complete a connection on which the client says nothing.
        peer.sendall(b"please\n")
        return peer.recv(64).decode()
    return ""


PASST = ["/vm/vm.json", "--set", "nics.net0.type=passt"]


def boots_and_stops(image, network, *words, **options):
    with running(image, *words, **options) as container:
        wait_for_guest(container)
        check("PID 1", container.exec("cat", "/proc/1/comm").stdout, "vmrig\n")
        check("a write below the read-only root", container.exec("touch", "/vm/x").returncode, 1)
        # A service on the guest's port 80, reached through the container's port 8080.
        container.exec("vmrig", "console", "vm", "--timeout", "0.5",
                       stdin="while :; do echo served | nc -l -p 80; done &\n")
        eventually("the guest serves on the published port",
                   lambda: fetch(container.ADDRESS, 8080).startswith("served"))
        processes = container.exec("ps", "-e", "-o", "comm=").stdout.split() or \
            container.exec("sh", "-c", "cat /proc/[0-9]*/comm").stdout.split()
        check(f"{network}: a passt", any("passt" in name for name in processes), network == "passt")
        check("exit status after TERM", container.stop(), 0)
        if b"powered off" not in container.output and b"powerdown" not in container.output:
            raise Failed(f"it does not say that the guest powered off: {container.output!r}")
    say(f"{network} networking: boots, is reached, ends by TERM with status 0")


def passt_is_refused(image):
    """passt walls itself off in a user namespace, which Docker's own profile denies."""
    with running(image, *PASST) as container:
        check("exit status of passt under Docker's seccomp profile", container.wait(20), 3)
        if b"--security-opt seccomp=unconfined" not in container.output:
            raise Failed(f"the mend is not told: {container.output!r}")


def ends_by_itself(image):
    with running(image, "/vm/vm.json", "--set",
                 "boot.cmdline=console=ttyS0 quiet panic=-1 vmrig.autopoweroff") as container:
        check("exit status of a guest that powers off", container.wait(60), 0)


def crashes(image):
    with running(image, "/vm/vm.json") as container:
        wait_until_healthy(container)
        container.exec("sh", "-c", f"kill -SEGV {status_of(container)['pid']}")
        check("exit status of a QEMU that crashes", container.wait(20), 1)
        if b"SIGSEGV" not in container.output:
            raise Failed(f"it does not name the signal: {container.output!r}")


def ignores_term(image):
    """A guest without an operating system has nobody at its power button: QEMU is ended within the ten
    seconds that an engine waits."""
    bare = {"name": "vm", "memory": {"size": "64MiB"}, "power": {"stop_timeout_s": 1}}
    with running(image, "-", stdin=json.dumps(bare)) as container:
        wait_until_healthy(container)
        check("exit status of a guest that ignores TERM", container.stop(), 0)


def with_kvm(image):
    """The node is the host's; the guest need not run far, for a host may have a KVM that is emulated."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as fault:
        skip(f"/dev/kvm in the container: {fault}")
        return
    bare = {"name": "vm", "memory": {"size": "64MiB"}, "machine": {"accel": "kvm"},
            "power": {"stop_timeout_s": 1}}
    with running(image, "-", devices=["kvm"], stdin=json.dumps(bare)) as container:
        wait_until_healthy(container)
        check("accelerator", status_of(container)["qemu"]["accel"], "kvm")
        check("exit status", container.stop(), 0)
    with running(image, "-", stdin=json.dumps(bare)) as container:
        check("exit status without the node", container.wait(20), 3)
        if b"--device /dev/kvm" not in container.output:
            raise Failed(f"the mend is not told: {container.output!r}")
    say("/dev/kvm: taken where it is given, named where it is not")


# ---------------------------------------------------------------- limits


@contextlib.contextmanager
def cgroup(controller, **settings):
    """A group with these settings ({"hugetlb.2MB.max": "0"} as hugetlb_2MB_max), below the hierarchy's
    root: v1 where the controller is there, else v2. None when there is neither."""
    v1 = pathlib.Path("/sys/fs/cgroup") / controller
    v2 = next((path for path in map(pathlib.Path, ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"))
               if (path / "cgroup.controllers").exists()), None)
    group = turned_on = None
    if (v1 / "tasks").exists():
        group = v1 / "vmrig-container-test"
    elif v2 and controller in (v2 / "cgroup.controllers").read_text().split():
        if controller not in (v2 / "cgroup.subtree_control").read_text().split():
            (v2 / "cgroup.subtree_control").write_text(f"+{controller}")
            turned_on = v2
        group = v2 / "vmrig-container-test"
    try:
        if group:
            group.mkdir()
            for name, value in settings.items():
                (group / name.replace("__", ".")).write_text(value)
        yield group
    finally:
        if group and group.exists():
            eventually("the cgroup is empty", lambda: not (group / "cgroup.procs").read_text())
            group.rmdir()
        if turned_on:
            (turned_on / "cgroup.subtree_control").write_text(f"-{controller}")


def keeps_to_its_cpuset(image):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        skip("the cpuset: one CPU only")
        return
    own, other = cpus[-1], cpus[0]
    config = {"name": "vm", "memory": {"size": "64MiB"}, "power": {"stop_timeout_s": 0},
              "cpu": {"vcpus": 1, "pin": "auto"}}
    with cgroup("cpuset", cpuset__cpus=str(own), cpuset__mems="0") as group:
        if not group:
            skip("the cpuset: no such cgroup controller")
            return
        join = lambda pid: (group / "cgroup.procs").write_text(str(pid))  # noqa: E731
        with running(image, "-", stdin=json.dumps(config), prepare=join) as container:
            wait_until_healthy(container)
            vcpus = [thread for thread in status_of(container)["threads"] if thread["role"] == "vcpu"]
            check("the vCPU's pin", [thread["cpus"] for thread in vcpus], [str(own)])
            for task in pathlib.Path(f"/proc/{qemu_of(container)}/task").iterdir():
                allowed = re.search(r"Cpus_allowed_list:\s*(\S+)", (task / "status").read_text())
                check(f"a thread of QEMU's may run on {task.name}", allowed.group(1), str(own))
            check("exit status", container.stop(), 0)
        config["cpu"]["pin"] = [str(other)]
        with running(image, "-", stdin=json.dumps(config), prepare=join) as container:
            check("exit status of a pin outside the cpuset", container.wait(20), 3)
            if f"CPU {other}".encode() not in container.output:
                raise Failed(f"the CPU is not named: {container.output!r}")
    say(f"cpuset {own}: the vCPU is pinned there, and CPU {other} is refused by name")


def qemu_of(container):
    """Its pid as the host counts."""
    inside = str(status_of(container)["pid"])
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            pids = re.search(r"NSpid:\s*(.*)", status.read_text()).group(1).split()
            if len(pids) > 1 and pids[-1] == inside and \
                    os.readlink(status.parent / "ns/pid") == os.readlink(f"/proc/{container.pid}/ns/pid"):
                return int(pids[0])
    raise Failed("QEMU's process is not found")


def keeps_to_its_hugepages(image):
    """A limit that is too small is told before anything is touched; the pool itself is not asked."""
    config = {"name": "vm", "memory": {"size": "64MiB", "hugepages": "2MiB", "backing": "memfd"},
              "power": {"stop_timeout_s": 0}}
    with cgroup("hugetlb", **{"hugetlb.2MB.max": str(32 << 20)}) as group:
        if not group or not (group / "hugetlb.2MB.max").exists():
            skip("the hugepage limit: no such cgroup controller")
            return
        join = lambda pid: (group / "cgroup.procs").write_text(str(pid))  # noqa: E731
        with running(image, "-", stdin=json.dumps(config), prepare=join) as container:
            check("exit status beyond the limit", container.wait(20), 3)
            for said in (b"may have 32MiB of 2MiB pages, 64MiB are needed", b"hugepages-2Mi"):
                if said not in container.output:
                    raise Failed(f"{said!r} is not told: {container.output!r}")
    say("hugepages: a limit of 32MiB is told with the pod's own word for it")


def show_own_network(folder):
    """The mounts of a namespace decide what /sys/class/net shows; the cgroups stay where they are."""
    folder.mkdir()
    small_engine.call("mount", "-t", "sysfs", "sysfs", str(folder))
    small_engine.call("mount", "--rbind", "/sys/fs/cgroup", str(folder / "fs/cgroup"))
    small_engine.call("mount", "--rbind", str(folder), "/sys")


def main(work):
    context = work / "context"
    context.mkdir()
    shutil.copy(EXAMPLE / "vm.json", context)
    for name in ("vmlinuz", "initrd.img"):
        shutil.copy(GUEST / name, context)
    debs = list((REPO / "build/package").glob("vmrig_*.deb"))
    if len(debs) != 1:
        raise Failed(f"{len(debs)} packages in build/package instead of one")
    shutil.copy(debs[0], context)
    (work / "image").mkdir()
    image = small_engine.build(EXAMPLE / "Dockerfile", context, BASE, work / "image")
    say(f"built: {' '.join([*image.entrypoint, *image.command])}")
    before = files_of(work / "image/upper")
    boots_and_stops(image, "user")
    passt_is_refused(image)
    boots_and_stops(image, "passt", *PASST, seccomp="unconfined")
    ends_by_itself(image)
    crashes(image)
    ignores_term(image)
    say("ends with 0 by itself and when nobody answers TERM, with 1 by a crash")
    with_kvm(image)
    keeps_to_its_cpuset(image)
    keeps_to_its_hugepages(image)
    check("what the containers changed in their image", files_of(work / "image/upper") ^ before, set())


def files_of(folder):
    return {(str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def outside():
    if os.geteuid() != 0:
        print("only root can run containers")
        return 77
    if subprocess.run([REPO / "tests/lib/bookworm.sh"], check=False).returncode != 0:
        return 77
    own = ["unshare", "--mount", "--net", "--propagation", "private"]
    if subprocess.run([*own, "unshare", *small_engine.CLONE_FLAGS, "--fork", "true"], check=False).returncode != 0:
        print("namespaces are not allowed here")
        return 77
    subprocess.run([REPO / "tests/lib/package_build.sh"], check=True)
    with tempfile.TemporaryDirectory(prefix="vmrig-container.") as folder:
        os.chmod(folder, 0o755)
        return subprocess.run([*own, sys.executable, __file__, "--inside", folder], check=False).returncode


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--inside":
        try:
            show_own_network(pathlib.Path(sys.argv[2]) / "sys")
            main(pathlib.Path(sys.argv[2]))
        except (Failed, small_engine.EngineError, subprocess.SubprocessError) as fault:
            print(f"container.py: {fault}", file=sys.stderr)
            sys.exit(1)
    else:
        sys.exit(outside())
