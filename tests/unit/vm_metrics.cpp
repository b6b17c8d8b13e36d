// From what a VM's record, the kernel and QEMU tell to samples.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "launcher/metrics/vm_metrics.hpp"
#include "tests/support/prometheus_text.hpp"

using namespace vmrig;
using namespace std::chrono_literals;
using vmrig::testing::PrometheusPage;
using vmrig::testing::read_prometheus;

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

VmThreadUse thread(const char* role, const char* id, std::uint64_t run_ns, std::uint64_t wait_ns) {
  VmThreadUse thread{.role = role, .id = id, .pinned = CpuSet{3}, .use = {}};
  thread.use.run_ns = run_ns;
  thread.use.wait_ns = wait_ns;
  thread.use.voluntary = 7;
  thread.use.involuntary = 2;
  return thread;
}

VmReading running_vm() {
  VmReading vm;
  vm.entry.name = "a";
  vm.entry.condition = VmCondition::kRunning;
  vm.entry.supervisor_alive = true;
  vm.entry.qemu_alive = true;
  VmState& state = vm.entry.state.emplace();
  state.name = "a";
  state.accel = "kvm";
  state.qemu_version = "7.2.22";
  state.vmrig_version = "0.1.0";
  state.started_at = 1000;
  state.restarts = 3;
  state.threads = {{"emulator", "", 10, CpuSet{0}}, {"vcpu", "0", 11, CpuSet{3}}};
  state.claim.exclusive_cpus = CpuSet{3, 4};
  state.claim.pages = {{.node = 1, .page_size = Bytes::gib(1), .pages = 8, .reserved = 0}};
  vm.kernel.threads = {thread("emulator", "", kSecond, 0),
                       thread("vcpu", "0", 2 * kSecond, kSecond / 2),
                       thread(kOtherThreads, "worker", kSecond, 0)};
  vm.kernel.uptime = 60s;
  vm.qemu.emplace();
  vm.qemu->round_trip = 250us;
  return vm;
}

PrometheusPage page_of(const VmReading& vm, const HostReading& host = {}) {
  const MetricPage page = metrics_of({vm}, host, 1060);
  PrometheusPage read = read_prometheus(page.text());
  CHECK(read.faults.empty());
  return read;
}

TEST_CASE("a record tells state, age and what the VM holds") {
  const PrometheusPage page = page_of(running_vm());
  CHECK(page.at(R"(vmrig_up{vm="a"})") == 1);
  CHECK(page.at(R"(vmrig_vm_state{vm="a",state="running"})") == 1);
  CHECK(page.at(R"(vmrig_vm_state{vm="a",state="paused"})") == 0);
  CHECK(page.at(R"(vmrig_vm_uptime_seconds{vm="a"})") == 60);
  CHECK(page.at(R"(vmrig_vm_start_time_seconds{vm="a"})") == 1000);
  CHECK(page.at(R"(vmrig_vm_restarts_total{vm="a"})") == 3);
  CHECK(page.at(R"(vmrig_vm_vcpus{vm="a"})") == 1);
  CHECK(page.at(R"(vmrig_lease_cpus{vm="a",kind="exclusive"})") == 2);
  CHECK(page.at(R"(vmrig_lease_hugepages{vm="a",node="1",page_size="1GiB"})") == 8);
  CHECK(
      page.at(R"(vmrig_vm_info{vm="a",accel="kvm",qemu_version="7.2.22",vmrig_version="0.1.0"})") ==
      1);
}

TEST_CASE("a VM that does not answer is down, and the kernel's numbers of it are there") {
  VmReading vm = running_vm();
  vm.qemu.reset();
  const PrometheusPage page = page_of(vm);
  CHECK(page.at(R"(vmrig_up{vm="a"})") == 0);
  CHECK_FALSE(page.has(R"(vmrig_qmp_round_trip_seconds{vm="a"})"));
  CHECK(page.at(R"(vmrig_thread_run_seconds_total{vm="a",role="vcpu",id="0"})") == 2);
}

TEST_CASE("a VM without a readable record, or that has ended, is told by name and state alone") {
  VmReading vm;
  vm.entry.name = "gone";
  vm.entry.condition = VmCondition::kCrashed;
  PrometheusPage page = page_of(vm);
  CHECK(page.at(R"(vmrig_up{vm="gone"})") == 0);
  CHECK(page.at(R"(vmrig_vm_state{vm="gone",state="crashed"})") == 1);
  vm.entry.state = running_vm().entry.state;
  page = page_of(vm);
  CHECK_FALSE(page.has(R"(vmrig_vm_uptime_seconds{vm="gone"})"));
  CHECK_FALSE(page.has(R"(vmrig_lease_cpus{vm="gone",kind="exclusive"})"));
}

TEST_CASE("threads are told in seconds, by role; QEMU's passing helpers are not") {
  const PrometheusPage page = page_of(running_vm());
  CHECK(page.at(R"(vmrig_thread_wait_seconds_total{vm="a",role="vcpu",id="0"})") == 0.5);
  CHECK(page.at(
            R"(vmrig_thread_context_switches_total{vm="a",role="vcpu",id="0",kind="voluntary"})") ==
        7);
  CHECK(
      page.at(
          R"(vmrig_thread_context_switches_total{vm="a",role="vcpu",id="0",kind="involuntary"})") ==
      2);
  CHECK_FALSE(page.has(R"(vmrig_thread_run_seconds_total{vm="a",role="other",id="worker"})"));
}

TEST_CASE("steal is told of KVM's vCPUs alone, and of host CPUs that somebody is pinned to") {
  VmReading vm = running_vm();
  HostReading host;
  host.steal_s = {{2, 1.5}, {3, 2.5}};
  PrometheusPage page = page_of(vm, host);
  CHECK(page.at(R"(vmrig_vcpu_steal_seconds_total{vm="a",vcpu="0"})") == 0.5);
  CHECK(page.at(R"(vmrig_host_cpu_steal_seconds_total{cpu="3"})") == 2.5);
  CHECK_FALSE(page.has(R"(vmrig_host_cpu_steal_seconds_total{cpu="2"})"));
  vm.entry.state->accel = "tcg";
  page = page_of(vm, host);
  CHECK_FALSE(page.has(R"(vmrig_vcpu_steal_seconds_total{vm="a",vcpu="0"})"));
}

TEST_CASE("memory, pages by node, NICs and the cgroup are told in base units") {
  VmReading vm = running_vm();
  ProcessUse& qemu = vm.kernel.qemu.emplace();
  qemu.user = 1500ms;
  qemu.hugetlb = Bytes::gib(8);
  vm.kernel.hugetlb = HugetlbUse{{{1, Bytes::gib(1)}, 8}};
  vm.kernel.nics["net0"] = {.received = {.bytes = 10, .packets = 1},
                            .sent = {.bytes = 20, .packets = 2, .errors = 3, .drops = 4}};
  VmLimits& limits = vm.kernel.limits.emplace();
  limits.memory = Bytes::mib(1);
  limits.cpu_us = 2'000'000;
  vm.kernel.throttled_s = 0.25;
  const PrometheusPage page = page_of(vm);
  CHECK(page.at(R"(vmrig_qemu_cpu_seconds_total{vm="a",mode="user"})") == 1.5);
  CHECK(page.at(R"(vmrig_qemu_resident_bytes{vm="a",kind="hugetlb"})") == 8.0 * (1 << 30));
  CHECK(page.at(R"(vmrig_memory_hugepages{vm="a",node="1",page_size="1GiB"})") == 8);
  CHECK(page.at(R"(vmrig_nic_receive_bytes_total{vm="a",nic="net0"})") == 10);
  CHECK(page.at(R"(vmrig_nic_transmit_bytes_total{vm="a",nic="net0"})") == 20);
  CHECK(page.at(R"(vmrig_nic_transmit_drops_total{vm="a",nic="net0"})") == 4);
  CHECK(page.at(R"(vmrig_cgroup_memory_bytes{vm="a"})") == 1 << 20);
  CHECK(page.at(R"(vmrig_cgroup_cpu_seconds_total{vm="a"})") == 2);
  CHECK(page.at(R"(vmrig_cgroup_cpu_throttled_seconds_total{vm="a"})") == 0.25);
}

TEST_CASE("disks are told by the id of the device in front, whichever way QEMU names it") {
  VmReading vm = running_vm();
  vm.qemu->block = Json::parse(R"([
      {"qdev": "/machine/peripheral/disk0/virtio-backend", "device": "",
       "stats": {"rd_bytes": 4096, "rd_total_time_ns": 1500000000, "failed_wr_operations": 2}},
      {"qdev": "disk1", "device": "", "stats": {"rd_bytes": 1}},
      {"device": "drive-hd0", "stats": {"rd_bytes": 2}},
      {"device": "", "node-name": "nobody", "stats": {"rd_bytes": 3}}])");
  const PrometheusPage page = page_of(vm);
  CHECK(page.at(R"(vmrig_disk_read_bytes_total{vm="a",disk="disk0"})") == 4096);
  CHECK(page.at(R"(vmrig_disk_read_time_seconds_total{vm="a",disk="disk0"})") == 1.5);
  CHECK(page.at(R"(vmrig_disk_errors_total{vm="a",disk="disk0",operation="write"})") == 2);
  CHECK(page.at(R"(vmrig_disk_read_bytes_total{vm="a",disk="disk1"})") == 1);
  CHECK(page.at(R"(vmrig_disk_read_bytes_total{vm="a",disk="drive-hd0"})") == 2);
  CHECK_FALSE(page.has(R"(vmrig_disk_read_bytes_total{vm="a",disk=""})"));
}

TEST_CASE("what the guest does not tell of its memory is left out") {
  VmReading vm = running_vm();
  vm.qemu->balloon = {{"actual", 1 << 20}};
  vm.qemu->balloon_stats = Json::parse(R"({"last-update": 1050, "stats": {
      "stat-free-memory": 1024, "stat-swap-in": 18446744073709551615, "stat-major-faults": -1}})");
  PrometheusPage page = page_of(vm);
  CHECK(page.at(R"(vmrig_balloon_bytes{vm="a"})") == 1 << 20);
  CHECK(page.at(R"(vmrig_balloon_stats_age_seconds{vm="a"})") == 10);
  CHECK(page.at(R"(vmrig_guest_memory_bytes{vm="a",kind="free"})") == 1024);
  CHECK_FALSE(page.has(R"(vmrig_guest_swapped_in_bytes_total{vm="a"})"));
  CHECK_FALSE(page.has(R"(vmrig_guest_page_faults_total{vm="a",kind="major"})"));
  vm.qemu->balloon_stats["last-update"] = 0;
  page = page_of(vm);
  CHECK_FALSE(page.has(R"(vmrig_guest_memory_bytes{vm="a",kind="free"})"));
}

const char* const kSchemas = R"([
    {"provider": "kvm", "target": "vcpu", "stats": [
      {"name": "exits", "type": "cumulative", "exponent": 0},
      {"name": "guest_mode", "type": "instant", "unit": "boolean", "exponent": 0},
      {"name": "halt_wait_ns", "type": "cumulative", "unit": "seconds", "base": 10, "exponent": -9},
      {"name": "halt_wait_hist", "type": "log2-histogram", "unit": "seconds", "base": 10, "exponent": -9},
      {"name": "odd-Name", "type": "cumulative", "exponent": 0},
      {"name": "future", "type": "of-a-later-kernel", "exponent": 0}]},
    {"provider": "kvm", "target": "vm", "stats": [
      {"name": "remote_tlb_flush", "type": "cumulative", "exponent": 0},
      {"name": "max_mmu_rmap_size", "type": "peak", "exponent": 0}]}])";

TEST_CASE("KVM's statistics carry the kernel's names, kinds and units, by vCPU") {
  VmReading vm = running_vm();
  vm.qemu->stats_schemas = Json::parse(kSchemas);
  vm.qemu->cpus = Json::parse(R"([{"cpu-index": 0, "qom-path": "/machine/unattached/device[0]"},
                                  {"cpu-index": 1, "qom-path": "/machine/unattached/device[2]"}])");
  vm.qemu->vcpu_stats = Json::parse(R"([
      {"provider": "kvm", "qom-path": "/machine/unattached/device[2]", "stats": [
        {"name": "exits", "value": 1547}, {"name": "guest_mode", "value": true},
        {"name": "halt_wait_ns", "value": 1500000000}, {"name": "halt_wait_hist", "value": [1, 2]},
        {"name": "odd-Name", "value": 4}, {"name": "future", "value": 1},
        {"name": "unknown", "value": 1}]},
      {"provider": "kvm", "qom-path": "/elsewhere", "stats": [{"name": "exits", "value": 1}]}])");
  vm.qemu->vm_stats = Json::parse(R"([{"provider": "kvm", "stats": [
      {"name": "remote_tlb_flush", "value": 3}, {"name": "max_mmu_rmap_size", "value": 9}]}])");
  const PrometheusPage page = page_of(vm);
  CHECK(page.at(R"(vmrig_kvm_vcpu_exits_total{vm="a",vcpu="1"})") == 1547);
  CHECK(page.types.at("vmrig_kvm_vcpu_exits_total") == "counter");
  CHECK(page.at(R"(vmrig_kvm_vcpu_guest_mode{vm="a",vcpu="1"})") == 1);
  CHECK(page.types.at("vmrig_kvm_vcpu_guest_mode") == "gauge");
  CHECK(page.at(R"(vmrig_kvm_vcpu_halt_wait_seconds_total{vm="a",vcpu="1"})") ==
        doctest::Approx(1.5));
  CHECK(page.at(R"(vmrig_kvm_vcpu_odd_name_total{vm="a",vcpu="1"})") == 4);
  CHECK(page.at(R"(vmrig_kvm_vm_remote_tlb_flush_total{vm="a"})") == 3);
  CHECK(page.types.at("vmrig_kvm_vm_max_mmu_rmap_size") == "gauge");
  for (const auto& [sample, value] : page.samples) {
    CHECK(sample.find("hist") == std::string::npos);
    CHECK(sample.find("future") == std::string::npos);
    CHECK(sample.find("unknown") == std::string::npos);
  }
  CHECK(kvm_exits(*vm.qemu) == std::map<std::string, double>{{"1", 1547}});
}

TEST_CASE("replies that are nothing like what they should be add nothing") {
  const char* const replies[] = {
      "null",
      "[]",
      "{}",
      "[1, null, {}]",
      "\"text\"",
      "7",
      R"([{"stats": 1, "qdev": 2, "device": 3}])",
      R"([{"stats": [1, {"name": 2}, {"name": "exits"}], "qom-path": "x", "cpu-index": "y"}])",
      R"([{"provider": "kvm", "target": "vcpu", "stats": [{"name": "exits"}, 5]}])",
      R"({"last-update": "now", "stats": []})",
      R"({"last-update": 5, "stats": {"stat-free-memory": "much"}})"};
  const std::size_t base = page_of(running_vm()).samples.size();
  for (const char* reply : replies) {
    VmReading vm = running_vm();
    QemuReading& told = *vm.qemu;
    for (Json QemuReading::*part :
         {&QemuReading::block, &QemuReading::memory, &QemuReading::balloon,
          &QemuReading::balloon_stats, &QemuReading::cpus, &QemuReading::stats_schemas,
          &QemuReading::vm_stats, &QemuReading::vcpu_stats}) {
      told.*part = Json::parse(reply);
    }
    // The age of the guest's words is known when nothing else is.
    CHECK_MESSAGE(page_of(vm).samples.size() <= base + 1, reply);
    CHECK(kvm_exits(told).empty());
  }
}

}  // namespace
