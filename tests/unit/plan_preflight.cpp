// What a plan refuses before anything is touched, and the accelerator's reasons.
#include <doctest/doctest.h>

#include <algorithm>
#include <iterator>
#include <string>

#include "tests/support/plan_inputs.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

PathFacts file(std::string magic = {}) {
  return {.type = PathFacts::Type::kFile,
          .readable = true,
          .writable = true,
          .size = Bytes::mib(1),
          .magic_format = std::move(magic),
          .error = {}};
}

constexpr const char* kOneDisk =
    R"({"name": "d", "memory": {"size": "64MiB"}, "disks": [{"id": "disk0", "path": "/i/a.img"}]})";

std::string disk_problems(const PathFacts& facts_of_disk, const char* config = kOneDisk) {
  HostFacts facts = recorded_facts("vm-2cpu");
  facts.paths["/i/a.img"] = facts_of_disk;
  return problems_of(plan_of(config, facts));
}

Plan accel_plan(const std::string& accel, HostFacts facts) {
  return plan_of(
      R"({"name": "a", "memory": {"size": "64MiB"}, "machine": {"accel": ")" + accel + "\"}}",
      facts);
}

}  // namespace

TEST_CASE("a disk that is missing, a folder, or not permitted is a config fault") {
  CHECK(has(disk_problems({}), "2 disks[0].path: \"/i/a.img\": no such file"));
  PathFacts folder = file();
  folder.type = PathFacts::Type::kDirectory;
  CHECK(has(disk_problems(folder), "2 disks[0].path: \"/i/a.img\" is a "));
  PathFacts locked = file();
  locked.writable = false;
  CHECK(has(disk_problems(locked), "3 disks[0].path: \"/i/a.img\" can't be written"));
  CHECK(disk_problems(file()).empty());
}

TEST_CASE("an image whose content and format disagree is refused both ways") {
  CHECK(has(disk_problems(file("qcow2")),
            "2 disks[0].format: \"/i/a.img\" looks like qcow2, and its name does not say so"));
  CHECK(has(disk_problems(file(), R"({"name": "d", "memory": {"size": "64MiB"},
      "disks": [{"id": "disk0", "path": "/i/a.img", "format": "qcow2"}]})"),
            "2 disks[0].format: \"/i/a.img\" is no qcow2 image | \"format\": \"raw\""));
  CHECK(disk_problems(file("qcow2"), R"({"name": "d", "memory": {"size": "64MiB"},
      "disks": [{"id": "disk0", "path": "/i/a.img", "format": "raw"}]})")
            .empty());
}

TEST_CASE("a disk that another VM has open for writing is busy, a shared reader is not") {
  HostFacts facts = recorded_facts("vm-2cpu");
  facts.paths["/i/a.img"] = file();
  Lease other;
  other.vm = "db";
  other.written_disks = {"/i/a.img"};
  CHECK(has(problems_of(plan_of(kOneDisk, facts, {other})),
            "6 disks[0].path: \"/i/a.img\" is in use by VM \"db\" | vmrig stop db"));
  other.read_disks = std::move(other.written_disks);
  other.written_disks.clear();
  CHECK(has(problems_of(plan_of(kOneDisk, facts, {other})), "is in use by VM \"db\""));
  CHECK(problems_of(plan_of(R"({"name": "d", "memory": {"size": "64MiB"},
      "disks": [{"id": "disk0", "path": "/i/a.img", "readonly": true}]})",
                            facts, {other}))
            .empty());
}

TEST_CASE("one image for two disks of a VM is refused unless both only read") {
  HostFacts facts = recorded_facts("vm-2cpu");
  facts.paths["/i/a.img"] = file();
  CHECK(has(problems_of(plan_of(R"({"name": "d", "memory": {"size": "64MiB"}, "disks": [
      {"id": "x", "path": "/i/a.img"}, {"id": "y", "path": "/i/a.img", "readonly": true}]})",
                                facts)),
            "2 disks[1].path: \"/i/a.img\" is disks[0] already"));
}

TEST_CASE("auto takes KVM only where the flag and the device are there, and says why not") {
  const HostFacts server = recorded_facts("two-socket-72cpu");
  CHECK(accel_plan("auto", server).accel == Accel::kKvm);
  CHECK(accel_plan("auto", server).accel_reason == "vmx, /dev/kvm opens");
  const HostFacts paravirtual = recorded_facts("vm-2cpu");
  CHECK(accel_plan("auto", paravirtual).accel == Accel::kTcg);
  CHECK(accel_plan("auto", paravirtual).accel_reason == "the CPU shows neither vmx nor svm");
  const HostFacts none = recorded_facts("no-kvm");
  CHECK(accel_plan("auto", none).accel == Accel::kTcg);
  CHECK(accel_plan("auto", none).accel_reason == "there is no /dev/kvm");
  HostFacts denied = server;
  denied.kvm.opens = false;
  denied.kvm.error = "Permission denied";
  CHECK(accel_plan("auto", denied).accel_reason == "/dev/kvm does not open: Permission denied");
}

TEST_CASE("KVM asked for and absent is the host's fault, with the mend") {
  CHECK(has(problems_of(accel_plan("kvm", recorded_facts("no-kvm"))),
            "3 machine.accel: kvm is asked for, and there is no /dev/kvm | modprobe kvm_intel"));
  CHECK(problems_of(accel_plan("kvm", recorded_facts("vm-2cpu"))).empty());
}

TEST_CASE("the host CPU model needs KVM") {
  CHECK(has(
      problems_of(plan_of(R"({"name": "a", "memory": {"size": "64MiB"}, "cpu": {"model": "host"}})",
                          recorded_facts("no-kvm"))),
      "cpu.model: \"host\" needs KVM"));
}

TEST_CASE("a CPU like the host's has no arch-capabilities where the host is AMD's") {
  const auto cpu_of = [](const std::string& vendor, const std::string& config) {
    HostFacts facts = recorded_facts("two-socket-72cpu");
    facts.cpu_vendor = vendor;
    const Plan plan = plan_of(R"({"name": "a", "memory": {"size": "64MiB"})" + config + "}", facts);
    const auto argv = plan.argv();
    return *std::next(std::find(argv.begin(), argv.end(), "-cpu"));
  };
  CHECK(cpu_of("GenuineIntel", "") == "host");
  CHECK(cpu_of("AuthenticAMD", "") == "host,arch-capabilities=off");
  CHECK(cpu_of("AuthenticAMD", R"(, "cpu": {"model": "max"})") == "max,arch-capabilities=off");
  CHECK(cpu_of("AuthenticAMD", R"(, "cpu": {"model": "EPYC"})") == "EPYC");
  CHECK(cpu_of("AuthenticAMD", R"(, "cpu": {"model": "host,arch-capabilities=on"})") ==
        "host,arch-capabilities=on");
  CHECK(cpu_of("AuthenticAMD", R"(, "machine": {"accel": "tcg"})") == "max");
}

TEST_CASE("more vCPUs than the machine can have is refused with its maximum") {
  CHECK(has(
      problems_of(plan_of(R"({"name": "a", "memory": {"size": "64MiB"}, "cpu": {"vcpus": 4000}})",
                          recorded_facts("two-socket-72cpu"))),
      "cpu.vcpus: 4000 vCPUs, and this QEMU's q35 has 288 at most"));
}

TEST_CASE("locked memory past the limit of an unprivileged vmrig is refused before QEMU says it") {
  HostFacts facts = recorded_facts("container-cpuset");
  facts.memlock_limit = Bytes::mib(8);
  facts.can_ipc_lock = false;
  CHECK(has(
      problems_of(plan_of(R"({"name": "a", "memory": {"size": "64MiB", "lock": true}})", facts)),
      "3 memory.lock: the limit on locked memory is 8MiB"));
}

TEST_CASE("more preallocated memory than the host has is refused, more on demand is a warning") {
  const HostFacts facts = recorded_facts("vm-2cpu");
  CHECK(has(
      problems_of(plan_of(R"({"name": "a", "memory": {"size": "4TiB", "prealloc": true}})", facts)),
      "3 memory.size: 4TiB is more than"));
  const Plan plan = plan_of(R"({"name": "a", "memory": {"size": "4TiB"}})", facts);
  CHECK(problems_of(plan).empty());
  bool warned = false;
  for (const Diagnostic& found : plan.preflight) {
    warned = warned || (found.path == "memory.size" && found.severity == Severity::kWarning);
  }
  CHECK(warned);
}

TEST_CASE("more devices than the PCI buses take is refused, not truncated") {
  std::string config =
      R"({"name": "a", "memory": {"size": "64MiB"}, "machine": {"type": "pc"}, "nics": [)";
  for (int i = 0; i < 40; ++i)
    config += (i > 0 ? "," : "") + (R"({"id": "n)" + std::to_string(i) + "\"}");
  CHECK(has(problems_of(plan_of(config + "]}", recorded_facts("no-kvm"))), "all 29 are taken"));
}

TEST_CASE("a container's limits on memory and hugepages are told before anything is touched") {
  HostFacts facts = recorded_facts("container-cpuset");
  const auto plan = [&facts](const std::string& memory) {
    return plan_of(R"({"name": "c", "memory": )" + memory + "}", facts);
  };
  const auto warnings = [](const Plan& made) {
    std::string text;
    for (const Diagnostic& finding : made.preflight) {
      if (finding.severity == Severity::kWarning)
        text += finding.path + ": " + finding.message + "\n";
    }
    return text;
  };
  CHECK(problems_of(plan(R"({"size": "1GiB", "hugepages": "2MiB"})")).empty());
  CHECK(has(problems_of(plan(R"({"size": "2GiB", "hugepages": "2MiB"})")),
            "3 memory.hugepages: the cgroup that vmrig is in may have 1GiB of 2MiB pages, 2GiB are "
            "needed | raise its hugetlb.2MB.max (in Kubernetes, the pod's limit hugepages-2Mi)"));
  CHECK(warnings(plan(R"({"size": "4GiB"})")).find("cgroup") == std::string::npos);
  CHECK(has(warnings(plan(R"({"size": "6000MiB"})")),
            "memory.size: the cgroup that vmrig is in may have 6GiB of memory"));
  CHECK(
      has(problems_of(plan(R"({"size": "7GiB", "prealloc": true})")),
          "3 memory.size: the cgroup that vmrig is in may have 6GiB of memory; the guest's 7GiB"));
  facts.memory_limits = {};
  CHECK(problems_of(plan(R"({"size": "7GiB", "prealloc": true})")).empty());
}

TEST_CASE("a guest that could use more memory than there is draws a warning of overcommitment") {
  HostFacts facts = recorded_facts("vm-2cpu");
  const auto warnings = [&facts](const char* memory) {
    std::string text;
    for (const Diagnostic& finding :
         plan_of(std::string(R"({"name": "o", "memory": {)") + memory + "}}", facts).preflight) {
      if (finding.severity == Severity::kWarning)
        text += finding.path + ": " + finding.message + "\n";
    }
    return text;
  };
  CHECK(warnings(R"("size": "3GiB")").find("overcommitted") == std::string::npos);
  CHECK(has(warnings(R"("size": "4GiB")"),
            "memory.size: 4GiB may be used by the guest, 3633 MiB are free or can be freed"));
  CHECK(has(warnings(R"("size": "4GiB", "prealloc": true)"), "4GiB is wanted at once"));
  CHECK(has(warnings(R"("size": "16GiB")"), "16GiB is more than the"));
}
