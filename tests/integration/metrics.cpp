// vmrig metrics: real VMs' numbers, as Prometheus takes them.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/nic_guest.hpp"
#include "tests/support/prometheus_text.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

// By our own reader, and by Prometheus' where it is here.
PrometheusPage checked(const std::string& text) {
  PrometheusPage page = read_prometheus(text);
  for (const std::string& fault : page.faults) CHECK_MESSAGE(false, fault);
  if (promtool().empty()) {
    MESSAGE(
        "promtool is not here (tests/lib/promtool.sh): the tests' own reader alone has checked");
    return page;
  }
  const CommandResult verdict =
      run_command({.argv = {promtool(), "check", "metrics"}, .environment = {}, .input = text});
  CHECK_MESSAGE(verdict.status == 0, verdict.out << verdict.err);
  return page;
}

PrometheusPage metrics(const VmGuard& guard, std::vector<std::string> words) {
  words.insert(words.begin(), "metrics");
  const CommandResult result = guard.vmrig(std::move(words));
  CHECK_MESSAGE(result.status == 0, result.err);
  return checked(result.out);
}

Json with_disk(const VmGuard& guard, const std::string& name) {
  const std::string image = guard.folder() / (name + ".qcow2");
  run_command({.argv = {"qemu-img", "create", "-q", "-f", "qcow2", image, "8M"},
               .environment = {},
               .input = {}});
  ::chmod(image.c_str(), 0666);
  Json config = guard.config(name);
  config["cpu"] = {{"vcpus", 2}};
  config["disks"] = Json::array({{{"id", "disk0"}, {"path", image}, {"format", "qcow2"}}});
  config["iothreads"] = Json::array({{{"id", "io0"}}});
  config["balloon"] = true;
  return config;
}

TEST_CASE("metrics of all VMs are what promtool takes, with each VM's threads, disks and memory") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  CHECK(metrics(guard, {"--all"}).at("vmrig_vms") == 0);
  REQUIRE(guard.vmrig({"start", guard.write_config(with_disk(guard, "one"))}).status == 0);
  REQUIRE(guard.vmrig({"start", "--paused", guard.write_config(guard.config("two"))}).status == 0);
  const PrometheusPage page = metrics(guard, {"--all"});
  CHECK(page.at("vmrig_vms") == 2);
  CHECK(page.at(R"(vmrig_up{vm="one"})") == 1);
  CHECK(page.at(R"(vmrig_up{vm="two"})") == 1);
  CHECK(page.at(R"(vmrig_vm_state{vm="two",state="paused"})") == 1);
  CHECK(page.at(R"(vmrig_vm_vcpus{vm="one"})") == 2);
  CHECK(page.at(R"(vmrig_vm_memory_bytes{vm="one",kind="base"})") == 64 << 20);
  CHECK(page.at(R"(vmrig_balloon_bytes{vm="one"})") == 64 << 20);
  CHECK(page.at(R"(vmrig_thread_run_seconds_total{vm="one",role="emulator",id=""})") > 0);
  CHECK(page.has(R"(vmrig_thread_wait_seconds_total{vm="one",role="vcpu",id="1"})"));
  CHECK(page.has(R"(vmrig_thread_run_seconds_total{vm="one",role="iothread",id="io0"})"));
  CHECK(page.has(R"(vmrig_disk_read_bytes_total{vm="one",disk="disk0"})"));
  CHECK(page.at(R"(vmrig_qemu_resident_bytes{vm="one",kind="file"})") > 0);
  CHECK(page.at(R"(vmrig_supervisor_resident_bytes{vm="one"})") > 0);
  CHECK(page.at(R"(vmrig_qmp_round_trip_seconds{vm="one"})") > 0);
  // As JSON the same samples; of one VM alone no other's.
  const Json json = guard.vmrig_json({"metrics", "two", "--json"});
  REQUIRE(json.is_array());
  for (const Json& family : json) {
    for (const Json& sample : family.at("samples")) {
      CHECK(sample.at("labels").value("vm", std::string("two")) == "two");
    }
  }
  CHECK(guard.vmrig({"stop", "--all", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("counters of a thread grow, and KVM's exits with them where KVM is") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("kvm"))}).status == 0);
  const std::string run = R"(vmrig_thread_run_seconds_total{vm="kvm",role="vcpu",id="0"})";
  const std::string exits = R"(vmrig_kvm_vcpu_exits_total{vm="kvm",vcpu="0"})";
  const double before = metrics(guard, {"kvm"}).at(run);
  CHECK(eventually([&] { return metrics(guard, {"kvm"}).at(run) > before; }));
  const PrometheusPage page = metrics(guard, {"kvm"});
  if (page.has(exits)) {
    CHECK(page.at(exits) > 0);
    CHECK(page.types.at("vmrig_kvm_vcpu_exits_total") == "counter");
    CHECK(page.has(R"(vmrig_vcpu_steal_seconds_total{vm="kvm",vcpu="0"})"));
    CHECK_FALSE(metrics(guard, {"kvm", "--no-kvm"}).has(exits));
  } else {
    CHECK(quick_accel() != "kvm");
  }
  CHECK(guard.vmrig({"stop", "kvm", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a VM that hangs is down, and costs the others nothing") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  for (const char* name : {"hung", "mute", "well"}) {
    REQUIRE(guard.vmrig({"start", guard.write_config(guard.config(name))}).status == 0);
  }
  const pid_t qemu = guard.vmrig_json({"status", "hung", "--json"}).at("pid").get<pid_t>();
  const pid_t supervisor =
      guard.vmrig_json({"status", "mute", "--json"}).at("supervisor").get<pid_t>();
  ::kill(qemu, SIGSTOP);
  ::kill(supervisor, SIGSTOP);
  const CommandResult result = guard.vmrig({"metrics", "--all", "--timeout", "2"});
  CHECK(result.status == 0);
  const PrometheusPage page = checked(result.out);
  CHECK(page.at(R"(vmrig_up{vm="well"})") == 1);
  CHECK(page.at(R"(vmrig_up{vm="hung"})") == 0);
  CHECK(page.at(R"(vmrig_up{vm="mute"})") == 0);
  // The kernel tells of them all the same.
  CHECK(page.has(R"(vmrig_thread_run_seconds_total{vm="hung",role="vcpu",id="0"})"));
  // Both waits at once, and nobody else's.
  CHECK(page.at("vmrig_scrape_duration_seconds") > 2);
  CHECK(page.at("vmrig_scrape_duration_seconds") < 3.9);
  ::kill(qemu, SIGCONT);
  ::kill(supervisor, SIGCONT);
  // A VM whose supervisor is dead answers by QEMU itself.
  ::kill(supervisor, SIGKILL);
  CHECK(eventually([&] {
    return metrics(guard, {"mute"}).at(R"(vmrig_vm_state{vm="mute",state="orphaned"})") == 1;
  }));
  CHECK(metrics(guard, {"mute"}).at(R"(vmrig_up{vm="mute"})") == 1);
  CHECK(guard.vmrig({"stop", "--all", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("metrics refuses what it can't do, with what it can") {
  const VmGuard guard;
  struct Case {
    std::vector<std::string> words;
    int status;
    std::string said;
  };
  for (const Case& one :
       {Case{{"metrics"}, 2, "a NAME or --all"}, Case{{"metrics", "x", "--all"}, 2, "not both"},
        Case{{"metrics", "ghost"}, 5, "ghost"},
        Case{{"metrics", "--all", "--interval", "1"}, 2, "--textfile"},
        Case{{"metrics", "--all", "--textfile", ".", "--interval", "0"}, 2, "above 0"},
        Case{{"metrics", "--all", "--textfile", ".", "--json"}, 2, "no JSON"},
        Case{{"metrics", "--all", "--textfile", "/nonexistent"}, 1, "/nonexistent/vmrig.prom"},
        Case{{"metrics", "--all", "--textfile", "/nonexistent", "--interval", "1"},
             1,
             "/nonexistent/vmrig.prom"}}) {
    const CommandResult result = guard.vmrig(one.words);
    CHECK(result.status == one.status);
    CHECK_MESSAGE(result.err.find(one.said) != std::string::npos, result.err);
    CHECK(result.out.empty());
  }
}

TEST_CASE("a textfile is whole at any time, for all to read, and goes with its writer") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("a"))}).status == 0);
  const std::string folder = guard.folder() / "textfiles";
  std::filesystem::create_directory(folder);
  const std::string path = folder + "/vmrig.prom";
  CHECK(guard.vmrig({"metrics", "--all", "--textfile", folder}).status == 0);
  CHECK(checked(read_all(path)).at(R"(vmrig_up{vm="a"})") == 1);
  struct stat first {};
  REQUIRE(::stat(path.c_str(), &first) == 0);
  CHECK((first.st_mode & 07777) == 0644);

  RunningCommand writer(
      guard.request({"metrics", "--all", "--textfile", folder, "--interval", "0.05"}));
  int renewed = 0;
  ino_t last = first.st_ino;
  CHECK(eventually([&] {
    struct stat now {};
    if (::stat(path.c_str(), &now) != 0) return false;
    if (now.st_ino != last) ++renewed;
    last = now.st_ino;
    CHECK(read_prometheus(read_all(path)).faults.empty());
    return renewed >= 5;
  }));
  // Beside it, the one that is being written at most; node_exporter reads what ends with .prom.
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    CHECK((name == "vmrig.prom" || (name.starts_with(".") && !name.ends_with(".prom"))));
  }
  // VMs come and go while it runs.
  CHECK(guard.vmrig({"stop", "a", "--force"}).status == 0);
  CHECK(eventually([&] { return read_prometheus(read_all(path)).at("vmrig_vms") == 0; }));
  writer.send_signal(SIGTERM);
  CHECK(writer.wait().status == 0);
  CHECK(std::filesystem::is_empty(folder));
  CHECK(guard.nothing_left());
}

TEST_CASE("the textfile of one VM ends with the VM") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("a"))}).status == 0);
  const std::string folder = guard.folder() / "textfiles";
  std::filesystem::create_directory(folder);
  RunningCommand writer(
      guard.request({"metrics", "a", "--textfile", folder, "--interval", "0.05"}));
  CHECK(eventually([&] { return std::filesystem::exists(folder + "/vmrig-a.prom"); }));
  CHECK(guard.vmrig({"stop", "a", "--force"}).status == 0);
  CHECK(writer.wait().status == 0);
  CHECK(writer.err().find("has ended") != std::string::npos);
  CHECK(std::filesystem::is_empty(folder));
  CHECK(guard.nothing_left());
}

TEST_CASE("NICs are counted as the guest sees them, on a tap and on a macvtap") {
  NEED_NETWORK();
  const Json nics[] = {
      {{"id", "net0"}, {"type", "tap"}, {"bridge", {{"name", "vbr0"}, {"create", true}}}},
      {{"id", "net0"}, {"type", "macvtap"}, {"parent", "peer0"}}};
  for (const Json& nic : nics) {
    const bool is_tap = nic.at("type") == "tap";
    with_guest(nic, [is_tap](NicGuest& vm) {
      if (is_tap) run_ok("ip link set peer0 master vbr0");
      set_address(vm);
      await_ping(vm);
      constexpr double kSent = 2'000'000;
      const std::string out = R"(vmrig_nic_transmit_bytes_total{vm="traffic",nic="net0"})";
      const std::string in = R"(vmrig_nic_receive_bytes_total{vm="traffic",nic="net0"})";
      send_to_peer(vm);
      PrometheusPage page = metrics(vm.guard, {"traffic"});
      CHECK(page.at(out) >= kSent);
      CHECK(page.at(in) < kSent);
      const double sent = page.at(out);
      receive_from_peer(vm);
      page = metrics(vm.guard, {"traffic"});
      CHECK(page.at(in) >= kSent);
      CHECK(page.at(out) - sent < kSent);
      if (is_tap) run_ok("ip link set peer0 nomaster");
    });
  }
}

}  // namespace
