#!/usr/bin/env python3
"""examples/kubernetes: well-formed, true to its own comments, and its VM planned on the recorded facts of
such a pod with the variables that the device plugin sets: within the pod's CPUs and hugepages.

    kubernetes.py        VMRIG: the program, default build/release/launcher/vmrig
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

REPO = pathlib.Path(__file__).resolve().parent.parent
VMRIG = os.environ.get("VMRIG", str(REPO / "build/release/launcher/vmrig"))
FACTS = REPO / "tests/data/facts/kubernetes-pod.json"
CAPS = REPO / "tests/data/caps/qemu-7.2.json"
GIB = 1 << 30


class Failed(Exception):
    pass


def check(what, got, wanted):
    if got != wanted:
        raise Failed(f"{what}: {got!r} instead of {wanted!r}")


def only(items, what):
    if len(items) != 1:
        raise Failed(f"{len(items)} {what} instead of one")
    return items[0]


def bytes_of(quantity):
    number, unit = re.fullmatch(r"(\d+)([KMGT]i)(?:B)?", quantity).groups()
    return int(number) << 10 * ("KMGT".index(unit[0]) + 1)


def device_variable(resource):
    """As the SR-IOV network device plugin names it (its pkg/resources/server.go)."""
    return "PCIDEVICE_" + re.sub(r"[^A-Za-z0-9]", "_", resource).upper()


def plan(folder, config, facts, environment, *words):
    (folder / "vm.json").write_text(config, encoding="utf-8")
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    return subprocess.run(
        [VMRIG, "plan", str(folder / "vm.json"), "--facts", str(folder / "facts.json"), "--caps", str(CAPS),
         *words], env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True, timeout=30,
        check=False)


def cpus(cpulist):
    return {cpu for part in cpulist.split(",") if part
            for cpu in range(int(part.split("-")[0]), int(part.split("-")[-1]) + 1)}


def main(folder):
    with open(REPO / "examples/kubernetes/pod.yaml", encoding="utf-8") as text:
        objects = list(yaml.safe_load_all(text))
    for item in objects:
        for key in ("apiVersion", "kind", "metadata"):
            if key not in item:
                raise Failed(f"an object has no {key}")
    pod = only([item for item in objects if item["kind"] == "Pod"], "pods")["spec"]
    config_map = only([item for item in objects if item["kind"] == "ConfigMap"], "config maps")
    container = only(pod["containers"], "containers")
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    check("volumes that are mounted", set(mounts), {volume["name"] for volume in pod["volumes"]})
    file = pathlib.PurePath(container["args"][0])
    check("the config's folder", str(file.parent), mounts["config"])
    config = config_map["data"][file.name]
    limits = container["resources"]["limits"]
    # Whole CPUs, and requests that are the limits, are what the static CPU manager asks for.
    check("requests", container["resources"].get("requests", limits), limits)
    check("whole CPUs", str(limits["cpu"]).isdigit(), True)

    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    check("CPUs of the recorded pod", len(cpus(facts["allowed"])), int(limits["cpu"]))
    recorded = facts["memory_limits"]
    check("hugepages of the recorded pod", bytes_of(recorded["hugepages"][0]["limit"]),
          bytes_of(limits["hugepages-1Gi"]))
    check("memory of the recorded pod", bytes_of(recorded["memory"]), bytes_of(limits["memory"]))
    resource = only([name for name in limits if "sriov" in name], "SR-IOV resources")
    environment = {device_variable(resource): "0000:3b:10.1"}

    result = plan(folder, config, facts, environment, "--json")
    if result.returncode != 0:
        raise Failed(f"the plan has problems: {result.stdout}{result.stderr}")
    planned = json.loads(result.stdout)
    text = json.dumps(planned)
    placement = planned["placement"]
    used = [cpus(one) for one in placement["vcpus"]]
    for one in used:
        check("vCPUs on a CPU each", len(one), 1)
    check("vCPUs within the pod's CPUs", set().union(*used) <= cpus(facts["allowed"]), True)
    check("the emulator within the pod's CPUs", cpus(placement["emulator"]) <= cpus(facts["allowed"]), True)
    if "0000:3b:10.1" not in text:
        raise Failed("the VF of the variable is not in the plan")
    for disk in json.loads(result.stdout)["config"]["disks"]:
        check("disks on the volume", disk["path"].startswith(mounts["images"] + "/"), True)
    grace = pod["terminationGracePeriodSeconds"]
    check("a stop within the grace period", planned["config"]["power"]["stop_timeout_s"] < grace, True)
    name = planned["config"]["name"]
    check("the probe", container["readinessProbe"]["exec"]["command"], ["vmrig", "status", name, "--ready"])
    # Of a VM that is not there yet it says no by the status that a missing VM has.
    probe = subprocess.run([VMRIG, *container["readinessProbe"]["exec"]["command"][1:]],
                           env=dict(os.environ, VMRIG_STATE_DIR=str(folder / "state")),
                           capture_output=True, timeout=30, check=False)
    check("the probe without a VM", probe.returncode, 5)

    # What is missing is named in the pod's own words.
    result = plan(folder, config, facts, {})
    check("exit status without the plugin's variable", result.returncode, 2)
    check("it is named", device_variable(resource) in result.stderr, True)
    facts["memory_limits"]["hugepages"][0]["limit"] = "2GiB"
    result = plan(folder, config, facts, environment)
    check("exit status with half of the hugepages", result.returncode, 3)
    check("the limit is named", "hugepages-1Gi" in result.stdout, True)
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    facts["allowed"] = facts["affinity"] = "10-11"
    result = plan(folder, config, facts, environment)
    check("exit status with two CPUs", result.returncode, 3)
    print(f"planned with {environment}: vCPUs {placement['vcpus']}, emulator {placement['emulator']}")


if __name__ == "__main__":
    try:
        with tempfile.TemporaryDirectory(prefix="vmrig-kubernetes.") as work:
            main(pathlib.Path(work))
    except (Failed, yaml.YAMLError) as fault:
        print(f"kubernetes.py: {fault}", file=sys.stderr)
        sys.exit(1)
