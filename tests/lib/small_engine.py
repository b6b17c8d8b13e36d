"""As much of a container engine as a test of a Dockerfile needs: builds its image on a layer over
build/bookworm, and runs it as `docker run --read-only --tmpfs /run` would: namespaces, Docker's
capabilities, the denials of its seccomp profile, a veth pair as its network. Root only; to be used in a
mount and network namespace of the caller's own, with which all of it goes away.

Run as a program it is the inside of a container: what becomes PID 1.
"""
import ctypes
import dataclasses
import glob
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys

CLONE_FLAGS = ["--mount", "--pid", "--net", "--ipc", "--uts"]
# Docker's default set (moby profiles, oci/caps/defaults.go) by number (linux/capability.h).
DEFAULT_CAPABILITIES = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}
CAP_LAST = 40
DEVICES = ["null", "zero", "full", "random", "urandom", "tty"]
STOP_GRACE_S = 10  # docker stop's


class EngineError(Exception):
    pass


def call(*words, **options):
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, **options)


# ---------------------------------------------------------------- building


@dataclasses.dataclass
class Image:
    root: str
    environment: dict
    entrypoint: list
    command: list
    stop_signal: int
    healthcheck: list


def instructions(text):
    """(instruction, rest) of a Dockerfile; comments left out, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


def copy(context, root, rest):
    *sources, target = shlex.split(rest)
    folder = root / target.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        found = glob.glob(str(context / source))
        if not found:
            raise EngineError(f"COPY: there is no {source} in {context}")
        for path in found:
            shutil.copy(path, folder)


def build(dockerfile, context, base, work):
    """`work` is an empty folder; the image's root is below it. RUN has no network: what it installs has
    been downloaded into the base."""
    layer = pathlib.Path(work)
    call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(layer))
    for name in ("upper", "work", "root"):
        (layer / name).mkdir()
    root = layer / "root"
    call("mount", "-t", "overlay", "-o", f"lowerdir={base},upperdir={layer}/upper,workdir={layer}/work",
         "overlay", str(root))
    image = Image(str(root), {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                              "HOME": "/root"}, [], [], signal.SIGTERM, [])
    for word, rest in instructions(pathlib.Path(dockerfile).read_text(encoding="utf-8")):
        if word == "FROM":
            if not rest.startswith("debian:bookworm"):
                raise EngineError(f"FROM {rest}: only bookworm is here")
        elif word == "COPY":
            copy(pathlib.Path(context), root, rest)
        elif word == "RUN":
            run_in_build(root, rest, image.environment)
        elif word == "ENV":
            image.environment.update(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "ENTRYPOINT":
            image.entrypoint = json.loads(rest)
        elif word == "CMD":
            image.command = json.loads(rest)
        elif word == "STOPSIGNAL":
            image.stop_signal = getattr(signal, rest)
        elif word == "HEALTHCHECK":
            image.healthcheck = json.loads(rest[rest.index("["):])
        elif word != "EXPOSE":
            raise EngineError(f"{word}: not an instruction that this engine knows")
    return image


def run_in_build(root, script, environment):
    inside = ('mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/dev" && mkdir "$1/dev/pts" && '
              'mount -t devpts devpts "$1/dev/pts" && ln -s /proc/self/fd "$1/dev/fd" && '
              'for node in null zero full random urandom tty; do touch "$1/dev/$node" && '
              'mount --bind "/dev/$node" "$1/dev/$node" || exit 1; done; exec chroot "$1" /bin/sh -c "$2"')
    result = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", inside, "sh",
         str(root), script],
        env=dict(environment, DEBIAN_FRONTEND="noninteractive"), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise EngineError(f"RUN {script}: {(result.stdout + result.stderr)[-2000:]}")


# ---------------------------------------------------------------- running


class Container:
    """`devices`: more nodes of /dev. `seccomp`: "default" or "unconfined". `prepare(pid)`: called for the
    container's first process before it becomes PID 1's program, to put it into cgroups. `command`: words
    instead of the image's CMD."""

    def __init__(self, image, command=(), devices=(), seccomp="default", stdin=None, prepare=None):
        self.image = image
        ours, theirs = socket.socketpair()
        request = {
            "root": image.root, "devices": [*DEVICES, *devices],
            "environment": image.environment, "seccomp": seccomp,
            "argv": [*image.entrypoint, *(command or image.command)], "fd": theirs.fileno()}
        self.process = subprocess.Popen(
            ["unshare", *CLONE_FLAGS, "--propagation", "private", "--fork", "--kill-child",
             sys.executable, "-I", __file__, json.dumps(request)],
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[theirs.fileno()])
        theirs.close()
        self.output = b""
        ours.settimeout(20)
        if ours.recv(4) != b"here":
            raise EngineError(f"the container did not come up: {self.process.communicate()[0]!r}")
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        self.pid = int(children.split()[0])
        self.connect()
        if prepare:
            prepare(self.pid)
        if stdin is not None:
            self.process.stdin.write(stdin.encode())
            self.process.stdin.close()
            self.process.stdin = None
        ours.send(b"go")
        ours.close()

    ADDRESS = "10.88.0.2"

    def connect(self):
        """eth0 inside, on a veth pair whose other end is the caller's."""
        call("ip", "link", "add", "container0", "type", "veth", "peer", "name", "eth0", "netns",
             str(self.pid))
        call("ip", "addr", "add", "10.88.0.1/24", "dev", "container0")
        call("ip", "link", "set", "container0", "up")
        inside = ["nsenter", "-t", str(self.pid), "-n", "ip"]
        call(*inside, "link", "set", "lo", "up")
        call(*inside, "addr", "add", self.ADDRESS + "/24", "dev", "eth0")
        call(*inside, "link", "set", "eth0", "up")
        call(*inside, "route", "add", "default", "via", "10.88.0.1")

    def exec(self, *words, stdin="", timeout=30):
        """As docker exec. The result of subprocess.run."""
        return subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-i", "-u", "-r", "-w", "--",
             "/usr/bin/env", "-i", *(f"{key}={value}" for key, value in self.image.environment.items()),
             *words], input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def has_ended(self):
        return self.process.poll() is not None

    def is_healthy(self):
        return self.exec(*self.image.healthcheck).returncode == 0

    def wait(self, timeout):
        """Its exit status as an engine tells it: 128 + the number of a signal."""
        self.output += self.process.communicate(timeout=timeout)[0]
        return self.process.returncode if self.process.returncode >= 0 else 128 - self.process.returncode

    def stop(self):
        """As docker stop: the stop signal, and 10 seconds later KILL. The exit status."""
        os.kill(self.pid, self.image.stop_signal)
        try:
            return self.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            os.kill(self.pid, signal.SIGKILL)
            return self.wait(STOP_GRACE_S)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


# ---------------------------------------------------------------- inside

libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount_cgroups(root):
    """Those that the host has, v1 or v2, from the container's own group down."""
    hierarchies = {}
    for line in pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")
        place = before.split(" ")[4]
        if kind in ("cgroup", "cgroup2") and place.startswith("/sys/fs/cgroup"):
            words = [word for word in options.split(",") if word not in ("rw", "ro", "xattr")]
            hierarchies[place] = (kind, ",".join(["rw", *words] if kind == "cgroup" else ["rw"]))
    if "/sys/fs/cgroup" not in hierarchies:
        call("mount", "-t", "tmpfs", "tmpfs", f"{root}/sys/fs/cgroup")
    for place, (kind, options) in hierarchies.items():
        os.makedirs(root + place, exist_ok=True)
        # The hierarchy itself can be written to: only this mount of it can't.
        call("mount", "-t", kind, "-o", options, "cgroup", root + place)
        call("mount", "-o", "remount,bind,ro", root + place)


def mount_all(root, devices):
    call("mount", "--bind", root, root)
    call("mount", "-t", "proc", "proc", f"{root}/proc")
    call("mount", "--bind", "-o", "ro", f"{root}/proc/sys", f"{root}/proc/sys")
    call("mount", "-t", "sysfs", "-o", "ro", "sysfs", f"{root}/sys")
    mount_cgroups(root)
    call("mount", "-t", "tmpfs", "-o", "mode=755,nosuid", "tmpfs", f"{root}/dev")
    for name in ("pts", "shm"):
        os.mkdir(f"{root}/dev/{name}")
    call("mount", "-t", "devpts", "devpts", f"{root}/dev/pts")
    call("mount", "-t", "tmpfs", "-o", "mode=1777,nosuid,nodev,noexec", "tmpfs", f"{root}/dev/shm")
    for device in devices:
        pathlib.Path(f"{root}/dev/{device}").touch()
        call("mount", "--bind", f"/dev/{device}", f"{root}/dev/{device}")
    os.symlink("/proc/self/fd", f"{root}/dev/fd")
    # Docker's own options of --tmpfs.
    call("mount", "-t", "tmpfs", "-o", "mode=755,nosuid,nodev,noexec", "tmpfs", f"{root}/run")
    call("mount", "-o", "remount,bind,ro", root)


def enter(root):
    os.chdir(root)
    check(libc.syscall(155, b".", b"."), "pivot_root")
    check(libc.umount2(b".", 2), "umount")  # MNT_DETACH: the host's root lies over ours
    os.chdir("/")


def drop_capabilities():
    for capability in range(CAP_LAST + 1):
        if capability not in DEFAULT_CAPABILITIES:
            check(libc.prctl(24, capability, 0, 0, 0), "PR_CAPBSET_DROP")


# By their numbers on x86-64: what Docker's profile denies without a capability that is not in its
# default set (moby profiles/seccomp/default_linux.go).
DENIED = {
    "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, "bpf": 321,
    "perf_event_open": 298, "add_key": 248, "request_key": 249, "keyctl": 250, "mbind": 237,
    "set_mempolicy": 238, "get_mempolicy": 239, "io_uring_setup": 425, "io_uring_enter": 426,
    "io_uring_register": 427, "userfaultfd": 323, "open_by_handle_at": 304, "init_module": 175,
    "finit_module": 313, "swapon": 167, "reboot": 169, "kexec_load": 246}
CLONE = 56
CLONE3 = 435
NEW_NAMESPACES = 0x7E020000


def filter_calls():
    """A classic BPF program (linux Documentation/userspace-api/seccomp_filter.rst)."""
    load, jump_equal, jump_set, give = 0x20, 0x15, 0x45, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000
    number, first_argument = 0, 16  # offsets in struct seccomp_data
    program = [(load, 0, 0, number)]
    for denied in DENIED.values():
        program += [(jump_equal, 0, 1, denied), (give, 0, 0, refuse | 1)]  # EPERM
    # Its flags are in memory: ENOSYS, so that clone is taken.
    program += [(jump_equal, 0, 1, CLONE3), (give, 0, 0, refuse | 38)]
    program += [(jump_equal, 0, 3, CLONE), (load, 0, 0, first_argument),
                (jump_set, 0, 1, NEW_NAMESPACES), (give, 0, 0, refuse | 1), (give, 0, 0, allow)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
    check(libc.prctl(22, 2, header, 0, 0), "PR_SET_SECCOMP")


def main():
    request = json.loads(sys.argv[1])
    with socket.socket(fileno=request["fd"]) as engine:
        engine.send(b"here")
        if engine.recv(2) != b"go":
            return
    # In its cgroups by now, which become the top of what it sees.
    check(libc.unshare(0x02000000), "unshare the cgroup namespace")
    mount_all(request["root"], request["devices"])
    enter(request["root"])
    if request["seccomp"] == "default":
        filter_calls()
    drop_capabilities()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    argv = request["argv"]
    os.execvpe(argv[0], argv, request["environment"])


if __name__ == "__main__":
    main()
