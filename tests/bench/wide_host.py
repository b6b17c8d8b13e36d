"""A host of 512 CPUs for what is started from here: a sysfs made of files, in a mount namespace of
this process's own. Only discovery is that of a large host; the CPUs themselves are this one's."""

import ctypes
import os
from pathlib import Path

CPUS = 512
PACKAGES = 2
L3_CORES = 8
CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000


def cpulist(cpus):
    """"0-3,8" of sorted numbers."""
    runs = []
    for cpu in cpus:
        if runs and runs[-1][1] == cpu - 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def make_tables(folder):
    """/sys/devices/system/cpu and node of two packages with SMT: siblings are half the CPUs apart."""
    cores = CPUS // 2
    per_package = cores // PACKAGES
    all_cpus = f"0-{CPUS - 1}"
    for name in ("online", "possible", "present"):
        write(folder / "cpu" / name, all_cpus)
    write(folder / "cpu/isolated", "")
    write(folder / "cpu/offline", "")
    for cpu in range(CPUS):
        core = cpu % cores
        package = core // per_package
        of_package = range(package * per_package, (package + 1) * per_package)
        of_cache = range(core // L3_CORES * L3_CORES, (core // L3_CORES + 1) * L3_CORES)
        siblings, whole, cache = (cpulist([*some, *(c + cores for c in some)])
                                  for some in ([core], of_package, of_cache))
        own = folder / f"cpu/cpu{cpu}"
        for name, text in (("core_cpus_list", siblings), ("thread_siblings_list", siblings),
                           ("package_cpus_list", whole), ("core_siblings_list", whole),
                           ("core_id", str(core % per_package)), ("physical_package_id", str(package))):
            write(own / "topology" / name, text)
        for index, level, shared in ((0, 1, siblings), (1, 1, siblings), (2, 2, siblings), (3, 3, cache)):
            write(own / f"cache/index{index}/level", str(level))
            write(own / f"cache/index{index}/shared_cpu_list", shared)
    for node in range(PACKAGES):
        own = folder / f"node/node{node}"
        of_node = range(node * per_package, (node + 1) * per_package)
        write(own / "cpulist", cpulist([*of_node, *(c + cores for c in of_node)]))
        write(own / "distance", " ".join("10" if other == node else "21" for other in range(PACKAGES)))
        write(own / "meminfo", "\n".join(f"Node {node} {key}: {kib:>14} kB" for key, kib in
                                         (("MemTotal", 256 << 20), ("MemFree", 250 << 20))))
        for pages in ("hugepages-2048kB", "hugepages-1048576kB"):
            for name in ("nr_hugepages", "free_hugepages", "surplus_hugepages"):
                write(own / "hugepages" / pages / name, "0")
    for name in ("online", "possible", "has_cpu", "has_memory"):
        write(folder / "node" / name, f"0-{PACKAGES - 1}")


def enter(folder):
    """From here on this process and its children see it; nobody else does, and there is no way back."""
    folder = Path(folder)
    make_tables(folder)
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name, *arguments):
        if getattr(libc, name)(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")

    call("unshare", CLONE_NEWNS)
    call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    for name in ("cpu", "node"):
        call("mount", os.fsencode(folder / name), f"/sys/devices/system/{name}".encode(), None, MS_BIND, None)
