"""What a launcher adds to a minimal Debian with QEMU: the packages that apt would install, by size.

Asks apt with the status of a system where nothing is installed, so that it does not matter what is
installed here."""

import re
import subprocess
from pathlib import Path

QEMU = "qemu-system-x86"


def required_packages():
    """Those of a system that has nothing else, as debootstrap's minbase."""
    text = Path("/var/lib/dpkg/status").read_text(errors="replace")
    names = []
    for paragraph in text.split("\n\n"):
        if re.search(r"^(Essential: yes|Priority: required)$", paragraph, re.M):
            names.append(re.search(r"^Package: (\S+)$", paragraph, re.M).group(1))
    return names


def packages_for(status, *wanted):
    """All that apt would install for them where nothing is installed."""
    done = subprocess.run(["apt-get", "-s", "--no-install-recommends", "-o", f"Dir::State::status={status}",
                           "install", *required_packages(), *wanted],
                          env={"LC_ALL": "C", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError("apt: " + done.stderr.strip()[-300:])
    return {line.split()[1] for line in done.stdout.splitlines() if line.startswith("Inst ")}


def installed_kib(packages):
    """By apt's records of the candidates."""
    if not packages:
        return 0
    out = subprocess.run(["apt-cache", "show", "--no-all-versions", *sorted(packages)], capture_output=True, text=True,
                         check=True).stdout
    return sum(int(size) for size in re.findall(r"^Installed-Size: (\d+)$", out, re.M))


def libraries_of(program):
    """The packages of the shared libraries that a program needs itself."""
    needed = re.findall(r"NEEDED\s+(\S+)",
                        subprocess.run(["objdump", "-p", program], capture_output=True, text=True, check=True).stdout)
    found = {}
    for line in subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.splitlines():
        if match := re.match(r"\s*(\S+) => (\S+)", line):
            found[match.group(1)] = match.group(2)
    packages = set()
    for name in sorted(set(needed) & set(found)):  # without the loader itself, which is libc's
        for path in (found[name], str(Path(found[name]).resolve())):
            # With /usr merged, dpkg knows some by the path without it.
            for known in (path, re.sub(r"^/usr", "", path), re.sub(r"^/lib", "/usr/lib", path)):
                owner = subprocess.run(["dpkg", "-S", known], capture_output=True, text=True)
                if owner.returncode == 0:
                    packages.add(owner.stdout.split(":")[0])
                    break
    return packages


def measure(folder, program):
    """{"vmrig": (MiB, packages), "libvirt": (MiB, packages)}, beyond what QEMU brings itself."""
    status = Path(folder) / "status"
    status.touch()
    qemu = packages_for(status, QEMU)
    ours = packages_for(status, QEMU, *libraries_of(program)) - qemu
    peer = packages_for(status, QEMU, "libvirt-daemon-system", "libvirt-clients") - qemu
    stripped = Path(folder) / "stripped"
    subprocess.run(["strip", "-o", stripped, program], check=True)
    program_mib = stripped.stat().st_size / 2**20
    return {"vmrig": (installed_kib(ours) / 1024 + program_mib, sorted(ours), program_mib),
            "libvirt": (installed_kib(peer) / 1024, sorted(peer), 0)}
