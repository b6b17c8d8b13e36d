#!/usr/bin/env python3
"""Writes the recorded host facts beside this script; see README.md. Needs nothing but Python.

Run again after a change to the format or to a host below: the output is deterministic, so
`git diff` then shows exactly what the change means.
"""
import json
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20
GIB = 1 << 30


def size(number):
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if number and number % (1 << shift) == 0:
            return f"{number >> shift}{unit}"
    return f"{number}B"


def cpulist(cpus):
    cpus = sorted(cpus)
    parts = []
    start = 0
    for i, cpu in enumerate(cpus):
        if i + 1 == len(cpus) or cpus[i + 1] != cpu + 1:
            parts.append(str(cpu) if cpus[start] == cpu else f"{cpus[start]}-{cpu}")
            start = i + 1
    return ",".join(parts)


def pool(page_size, total=0, free=None):
    return {"page_size": size(page_size), "total": total, "free": total if free is None else free}


def node(ident, cpus, memory, free, pools, distances):
    return {
        "id": ident,
        "cpus": cpulist(cpus),
        "memory_total": size(memory),
        "memory_free": size(free),
        "hugepages": pools,
        "distances": {str(other): distance for other, distance in enumerate(distances)},
    }


def cpus_of(sockets, cores, threads, l3_cores=None):
    """Numbered as Linux does on x86: all first threads by socket, then all second threads."""
    l3_cores = l3_cores or cores
    cpus = []
    for thread in range(threads):
        for core in range(sockets * cores):
            cpus.append({
                "id": thread * sockets * cores + core,
                "core": core,
                "package": core // cores,
                "node": core // cores,
                "l3": core // l3_cores,
            })
    return cpus


def on_node(cpus, ident):
    return [cpu["id"] for cpu in cpus if cpu["node"] == ident]


def loopback():
    return {"name": "lo", "index": 1, "mac": "00:00:00:00:00:00", "mtu": 65536, "up": True,
            "carrier": True, "kind": "loopback"}


def device_file(error="", **rights):
    """Given rights are uid, gid and mode ("0660")."""
    found = {"exists": not error, "opens": not error, "error": error}
    return found | rights | {"has_acl": True} if rights else found


def kvm_node():
    """As Debian's udev makes it: of the group kvm."""
    return device_file(uid=0, gid=106, mode="0660")


ABSENT = "No such file or directory"


def cgroup(base="/sys/fs/cgroup", why_not=""):
    controllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"] if base else []
    return {"mount": "/sys/fs/cgroup", "base": base, "why_not": why_not, "controllers": controllers,
            "v1_controllers": []}


def vfio(**changes):
    """No IOMMU and no VFIO, with `changes` to it."""
    return {"iommu": False, "driver_present": False, "module_available": False,
            "container": device_file(ABSENT), "noiommu": False, "iommufd": device_file(ABSENT),
            "cdev": False} | changes


def vf_record(index, mac, trust):
    return {"index": index, "mac": mac, "vlan": 0, "qos": 0, "vlan_proto": "802.1Q",
            "link_state": "auto", "min_rate_mbit": 0, "max_rate_mbit": 0, "trust": trust,
            "spoofchk": True}


def host(cpus, nodes, **changes):
    """A host run by root with all rights, with `changes` to it."""
    everything = cpulist(cpu["id"] for cpu in cpus)
    facts = {
        "format": 1,
        "kernel_release": "6.1.0-18-amd64",
        "boot_id": "00000000-0000-4000-8000-000000000001",
        "kernel_parameters": ["root=/dev/sda1", "ro"],
        "cpus": cpus,
        "present": everything,
        "allowed": everything,
        "affinity": everything,
        "isolated": "",
        "nohz_full": "",
        "nodes": nodes,
        "allowed_nodes": cpulist(node["id"] for node in nodes),
        "cpu_vendor": "GenuineIntel",
        "cpu_model": "Intel(R) Xeon(R) Processor",
        "vmx": True,
        "svm": False,
        "pdpe1gb": True,
        "hypervisor": False,
        "kvm": kvm_node(),
        "vfio": vfio(),
        "memlock_limit": "unlimited",
        "nofile_limit": 1048576,
        "user_id": 0,
        "can_net_admin": True,
        "can_sys_admin": True,
        "can_ipc_lock": True,
        "can_sys_resource": True,
        "can_sys_nice": True,
        "can_change_ids": True,
        "can_kill": True,
        "can_sys_ptrace": True,
        "ids": [{"first": 0, "count": 4294967295}],
        "cgroup": cgroup(),
        "hugetlbfs": [{"path": "/dev/hugepages", "page_size": "2MiB"}],
        "pci": [],
        "net": [loopback()],
    }
    unknown = set(changes) - set(facts)
    if unknown:
        raise KeyError(f"not facts: {sorted(unknown)}")
    facts.update(changes)
    # Left out where it says nothing, as vmrig does.
    if not facts["can_sys_nice"]:
        del facts["can_sys_nice"]
    return facts


def vm_2cpu():
    cpus = cpus_of(sockets=1, cores=2, threads=1)
    nodes = [node(0, [0, 1], 6777044 * 1024, 3720252 * 1024, [pool(2 * MIB), pool(GIB)], [10])]
    virtio = [("0000:00:01.0", "1045", "ffff00"), ("0000:00:02.0", "1042", "018000"),
              ("0000:00:03.0", "1041", "020000")]
    pci = [{"address": "0000:00:00.0", "vendor": "8086", "device": "0d57", "class": "060000"}]
    pci += [{"address": address, "vendor": "1af4", "device": device, "class": kind,
             "driver": "virtio-pci"} for address, device, kind in virtio]
    pci[3]["net_devices"] = ["eth0"]
    return host(
        cpus, nodes, kernel_release="6.18.0", kernel_parameters=["console=ttyS0", "quiet"],
        vmx=False, hypervisor=True, memlock_limit="8MiB",
        kvm=device_file(uid=0, gid=0, mode="0600"), nofile_limit=20000,
        can_sys_resource=False, hugetlbfs=[], pci=pci,
        net=[loopback(),
             {"name": "eth0", "index": 2, "mac": "02:fc:00:00:00:01", "mtu": 1400, "up": True,
              "carrier": True, "kind": "physical", "pci": "0000:00:03.0"}])


def two_socket_72cpu():
    cpus = cpus_of(sockets=2, cores=18, threads=2)
    nodes = [
        node(0, on_node(cpus, 0), 128 * GIB, 90 * GIB, [pool(2 * MIB), pool(GIB, 32, 30)],
             [10, 21]),
        node(1, on_node(cpus, 1), 128 * GIB, 94 * GIB, [pool(2 * MIB), pool(GIB, 32)],
             [21, 10]),
    ]
    port = {"vendor": "8086", "device": "1563", "class": "020000", "driver": "ixgbe",
            "numa_node": 0, "subsystem_vendor": "15d9", "subsystem_device": "0920",
            "revision": "01", "reset_methods": ["flr", "bus"]}
    function = {"vendor": "8086", "device": "1565", "class": "020000", "driver": "ixgbevf",
                "numa_node": 0, "physical_function": "0000:3b:00.1",
                "subsystem_vendor": "15d9", "subsystem_device": "0920", "revision": "01",
                "reset_methods": ["flr"]}
    pci = [
        {"address": "0000:3a:00.0", "vendor": "8086", "device": "2030", "class": "060400",
         "driver": "pcieport", "numa_node": 0, "iommu_group": 50},
        {"address": "0000:3b:00.0", **port, "iommu_group": 52, "total_vfs": 64,
         "net_devices": ["eno1"],
         "in_use": ["eno1 is up with 192.0.2.10", "eno1 has the default route"]},
        {"address": "0000:3b:00.1", **port, "iommu_group": 53, "total_vfs": 64, "num_vfs": 2,
         "net_devices": ["eno2"], "in_use": ["2 VFs are made of it"],
         "vf_records": [vf_record(0, "8e:df:08:c1:d1:de", True),
                        vf_record(1, "8e:df:08:c1:d1:df", False)]},
        # VF offset 128, stride 2: routing ID 3b:00.1 + 128 is 3b:10.1, and then 3b:10.3.
        {"address": "0000:3b:10.1", **function, "iommu_group": 154, "vf_index": 0,
         "net_devices": ["eno2v0"]},
        {"address": "0000:3b:10.3", **function, "iommu_group": 155, "vf_index": 1,
         "net_devices": ["eno2v1"]},
    ]
    card = {"kind": "physical", "numa_node": 0}
    net = [
        loopback(),
        {"name": "eno1", "index": 2, "mac": "0c:c4:7a:00:00:10", "mtu": 9216, "up": True,
         "carrier": True, **card, "pci": "0000:3b:00.0"},
        {"name": "eno2", "index": 3, "mac": "0c:c4:7a:00:00:11", "mtu": 9216, "up": True,
         "carrier": True, **card, "pci": "0000:3b:00.1"},
        {"name": "eno2v0", "index": 4, "mac": "02:09:c0:00:00:01", "mtu": 1500, "up": False,
         "carrier": False, **card, "pci": "0000:3b:10.1"},
        {"name": "eno2v1", "index": 5, "mac": "02:09:c0:00:00:02", "mtu": 1500, "up": False,
         "carrier": False, **card, "pci": "0000:3b:10.3"},
    ]
    return host(
        cpus, nodes,
        kernel_parameters=["default_hugepagesz=1G", "hugepagesz=1G", "hugepages=64",
                           "intel_iommu=on", "iommu=pt", "isolcpus=1-8,37-44"],
        # isolcpus= takes the CPUs out of everyone's default affinity, and not out of the cpuset.
        isolated="1-8,37-44", affinity="0,9-36,45-71",
        cpu_model="Intel(R) Xeon(R) Gold 6150 CPU @ 2.70GHz",
        # Debian 12: the module is there and not loaded, and the kernel has no iommufd.
        vfio=vfio(iommu=True, module_available=True,
                  container=device_file(uid=0, gid=0, mode="0666")),
        hugetlbfs=[{"path": "/dev/hugepages", "page_size": "1GiB"}], pci=pci, net=net)


def isolated_1gib():
    cpus = cpus_of(sockets=1, cores=16, threads=1)
    nodes = [node(0, range(16), 64 * GIB, 40 * GIB, [pool(2 * MIB), pool(GIB, 16)], [10])]
    return host(
        cpus, nodes,
        kernel_parameters=["default_hugepagesz=1G", "hugepagesz=1G", "hugepages=16",
                           "isolcpus=2-15", "nohz_full=2-15", "rcu_nocbs=2-15"],
        isolated="2-15", nohz_full="2-15", affinity="0-1",
        hugetlbfs=[{"path": "/dev/hugepages", "page_size": "1GiB"}])


def no_kvm():
    cpus = cpus_of(sockets=1, cores=4, threads=1)
    nodes = [node(0, range(4), 8 * GIB, 6 * GIB, [pool(2 * MIB), pool(GIB)], [10])]
    return host(
        cpus, nodes, vmx=False, hypervisor=True,
        kvm=device_file(ABSENT))


def container_cpuset():
    cpus = cpus_of(sockets=2, cores=16, threads=2)
    nodes = [
        node(0, on_node(cpus, 0), 256 * GIB, 100 * GIB, [pool(2 * MIB, 4096, 2048), pool(GIB)],
             [10, 21]),
        node(1, on_node(cpus, 1), 256 * GIB, 180 * GIB, [pool(2 * MIB, 4096), pool(GIB)],
             [21, 10]),
    ]
    facts = host(
        cpus, nodes, allowed="8-11", affinity="8-11", allowed_nodes="0", memlock_limit="64KiB",
        user_id=1000, can_net_admin=False, can_sys_admin=False, can_ipc_lock=False,
        can_sys_resource=False, can_sys_nice=False, can_change_ids=False, can_kill=False,
        can_sys_ptrace=False, ids=[{"first": 1000, "count": 1}],
        cgroup=cgroup(base="", why_not="it is not delegated to this user, or is mounted read-only"),
        hugetlbfs=[{"path": "/hugepages-2Mi", "page_size": "2MiB"}],
        net=[loopback(),
             {"name": "eth0", "index": 7, "mac": "02:42:ac:11:00:02", "mtu": 1450, "up": True,
              "carrier": True, "kind": "virtual"}])
    facts["memory_limits"] = {"memory": "6GiB",
                              "hugepages": [{"page_size": "2MiB", "limit": "1GiB"}]}
    return facts


def kubernetes_pod():
    """A pod on the 72-CPU host: the CPU manager's static policy gave it four whole cores of node 0,
    the limits 4 GiB of 1GiB pages, and the device plugin the first VF, which is on vfio-pci."""
    facts = two_socket_72cpu()
    exclusive = "10-13,46-49"
    for device in facts["pci"]:
        if device["address"] == "0000:3b:10.1":
            device["driver"] = "vfio-pci"
            del device["net_devices"]
        # The pod's network namespace has none of the host's network devices.
        device.pop("net_devices", None)
        device.pop("in_use", None)
        device.pop("vf_records", None)
    facts |= {
        "kernel_parameters": [word for word in facts["kernel_parameters"]
                              if not word.startswith("isolcpus")],
        "isolated": "", "allowed": exclusive, "affinity": exclusive, "allowed_nodes": "0",
        "vfio": vfio(iommu=True, driver_present=True, module_available=True,
                     container=device_file()),
        "can_net_admin": False, "can_sys_admin": False, "can_sys_resource": False,
        "cgroup": cgroup(base="", why_not="it is not delegated to this user, or is mounted "
                                          "read-only"),
        "hugetlbfs": [{"path": "/dev/hugepages", "page_size": "1GiB"}],
        "net": [loopback(),
                {"name": "eth0", "index": 9, "mac": "02:42:ac:11:00:09", "mtu": 1450, "up": True,
                 "carrier": True, "kind": "virtual"}],
    }
    del facts["can_sys_nice"]
    facts["memory_limits"] = {"memory": "1GiB",
                              "hugepages": [{"page_size": "1GiB", "limit": "4GiB"}]}
    return facts


def two_socket_512cpu():
    """Two sockets of 128 cores with two threads each; eight cores share a last-level cache."""
    cpus = cpus_of(sockets=2, cores=128, threads=2, l3_cores=8)
    nodes = [
        node(0, on_node(cpus, 0), 768 * GIB, 480 * GIB, [pool(2 * MIB), pool(GIB, 256)], [10, 32]),
        node(1, on_node(cpus, 1), 768 * GIB, 490 * GIB, [pool(2 * MIB), pool(GIB, 256)], [32, 10]),
    ]
    isolated = "8-127,136-255,264-383,392-511"
    return host(
        cpus, nodes,
        kernel_parameters=["default_hugepagesz=1G", "hugepagesz=1G", "hugepages=512",
                           "amd_iommu=on", "iommu=pt", f"isolcpus={isolated}"],
        isolated=isolated, affinity="0-7,128-135,256-263,384-391",
        cpu_vendor="AuthenticAMD", cpu_model="AMD EPYC 9754 128-Core Processor",
        vmx=False, svm=True,
        hugetlbfs=[{"path": "/dev/hugepages", "page_size": "1GiB"}])


def pretty(facts):
    """One line a key, and one line each for the entries of its list."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            entries = ",\n".join("    " + json.dumps(entry) for entry in value)
            lines.append(f"  {json.dumps(key)}: [\n{entries}\n  ]")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main():
    for name, facts in {
            "vm-2cpu": vm_2cpu(),
            "two-socket-72cpu": two_socket_72cpu(),
            "isolated-1gib": isolated_1gib(),
            "two-socket-512cpu": two_socket_512cpu(),
            "no-kvm": no_kvm(),
            "container-cpuset": container_cpuset(),
            "kubernetes-pod": kubernetes_pod(),
    }.items():
        (FOLDER / f"{name}.json").write_text(pretty(facts), encoding="utf-8")


if __name__ == "__main__":
    main()
