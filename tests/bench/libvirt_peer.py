"""libvirt as the peer that vmrig is measured against: its daemons with a state of their own.

libvirtd and virtlogd run in a mount and network namespace of theirs, where what
tests/lib/libvirt.sh has unpacked lies over the host's /usr, and /etc, /var and /run are private.
virsh runs outside, by a socket in the bench's folder. All of it ends by pid."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
START_S = 60

INSIDE = """
set -e
mkdir -p "$WORK"
mount -t tmpfs tmpfs "$WORK"
mkdir "$WORK/etc" "$WORK/etc-work" "$WORK/var" "$WORK/var-work"
mount -t overlay overlay -o "lowerdir=$ROOT/usr:/usr" /usr
mount -t overlay overlay -o "lowerdir=$ROOT/etc:/etc,upperdir=$WORK/etc,workdir=$WORK/etc-work" /etc
mount -t overlay overlay -o "lowerdir=/var,upperdir=$WORK/var,workdir=$WORK/var-work" /var
mount -t tmpfs tmpfs /run
mkdir -p /run/libvirt /etc/libvirt
ip link set lo up
# Its default user, which it wants to exist whatever the setting; /dev/kvm need not be for others.
grep -q '^libvirt-qemu:' /etc/passwd || echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>/etc/passwd
grep -q '^libvirt-qemu:' /etc/group || echo 'libvirt-qemu:x:64055:' >>/etc/group
printf 'user = "root"\\ngroup = "root"\\nsecurity_driver = "none"\\n' >/etc/libvirt/qemu.conf
printf 'unix_sock_dir = "%s"\\nauth_unix_rw = "none"\\n' "$SOCKETS" >/etc/libvirt/libvirtd.conf
touch "$SOCKETS/ready"
exec /usr/sbin/virtlogd
"""


def why_not(root):
    """Why there can't be a libvirt here; None when there can."""
    if os.geteuid() != 0:
        return "needs root"
    if not (root / "usr/bin/virsh").exists():
        return "tests/lib/libvirt.sh could not fetch it"
    for program in ("unshare", "nsenter", "mount", "ip"):
        if shutil.which(program) is None:
            return f"no {program}"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "this kernel has no overlayfs"
    return None


class Libvirt:
    def __init__(self, folder, root):
        self.folder = Path(folder) / "libvirt"
        self.folder.mkdir()
        self.root = root
        self.log = self.folder / "daemons.log"
        self.daemons = []

    @property
    def pids(self):
        return [daemon.pid for daemon in self.daemons]

    def start(self):
        environment = {**os.environ, "ROOT": str(self.root), "WORK": str(self.folder / "work"),
                       "SOCKETS": str(self.folder)}
        # Each keeps its pid through to the daemon.
        self.spawn(["unshare", "--mount", "--net", "sh", "-c", INSIDE], environment)
        self.wait_until(lambda: (self.folder / "ready").exists())
        self.spawn(["nsenter", "-t", str(self.pids[0]), "--mount", "--net", "/usr/sbin/libvirtd", "-f",
                    "/etc/libvirt/libvirtd.conf"], environment)
        self.wait_until(lambda: self.virsh("version", check=False).returncode == 0)

    def spawn(self, command, environment):
        with open(self.log, "a") as log:
            self.daemons.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                                 stderr=log))

    def wait_until(self, done):
        deadline = time.monotonic() + START_S
        while not done():
            if any(daemon.poll() is not None for daemon in self.daemons) or time.monotonic() > deadline:
                raise OSError("libvirt does not come up: " + self.log.read_text()[-300:].replace("\n", " "))
            time.sleep(0.05)

    def command(self, *words):
        """virsh, for a shell or Bench.timed()."""
        uri = f"qemu+unix:///system?socket={self.folder}/libvirt-sock"
        return [str(self.root / "usr/bin/virsh"), "-q", "-c", uri, *map(str, words)]

    def environment(self):
        return {**os.environ, "LD_LIBRARY_PATH": str(self.root / "usr/lib/x86_64-linux-gnu")}

    def virsh(self, *words, check=True):
        done = subprocess.run(self.command(*words), env=self.environment(), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=START_S)
        if check and done.returncode != 0:
            raise RuntimeError(f"virsh {' '.join(map(str, words))}: {done.stderr}")
        return done

    def version(self):
        return self.virsh("--version").stdout.strip()

    def domain(self, name, config, ports=0):
        """The domain that is equivalent to a config of Bench.config()."""
        pins = "".join(f"<vcpupin vcpu='{i}' cpuset='{cpus}'/>" for i, cpus in enumerate(config["cpu"]["pin"]))
        kvm = config["machine"]["accel"] == "kvm"
        slots = "<controller type='pci' index='0' model='pcie-root'/>" + "<controller type='pci' model='pcie-root-port'/>" * ports
        disk = config["disks"][0]["path"]
        path = self.folder / f"{name}.xml"
        path.write_text(f"""<domain type='{'kvm' if kvm else 'qemu'}'>
<name>{name}</name><memory unit='MiB'>512</memory><vcpu>{config['cpu']['vcpus']}</vcpu>
<cputune>{pins}</cputune>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<cpu mode='{'host-passthrough' if kvm else 'maximum'}'/><features><acpi/></features>
<devices>
<emulator>{shutil.which('qemu-system-x86_64')}</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disk}'/>
<target dev='vda' bus='virtio'/></disk>
<interface type='user'><model type='virtio'/></interface>
<controller type='usb' model='none'/>{slots}
<serial type='pty'/><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><memballoon model='none'/>
</devices></domain>
""")
        return path

    def cpu_ms(self):
        """CPU time of the daemons so far (clock_getcpuclockid)."""
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.pids) * 1000

    def strangers(self):
        """Processes in the daemons' network namespace that are not they: QEMUs, mostly."""
        try:
            own = os.readlink(f"/proc/{self.pids[0]}/ns/net")
            if own == os.readlink("/proc/self/ns/net"):
                return []  # it has not come that far
        except OSError:
            return []
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if (entry.name.isdigit() and int(entry.name) not in self.pids
                        and os.readlink(entry / "ns/net") == own):
                    found.append(int(entry.name))
            except OSError:
                pass
        return found

    def stop(self):
        for pid in self.strangers() if self.daemons else []:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
