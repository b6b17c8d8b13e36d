// What VMs have done between two looks, and how it is shown.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "launcher/metrics/show_activity.hpp"
#include "launcher/metrics/vm_activity.hpp"

using namespace vmrig;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
const std::chrono::steady_clock::time_point kBegin{1000s};

VmThreadUse thread(const char* role, const char* id, pid_t tid, double run_s, double wait_s,
                   std::uint64_t involuntary) {
  VmThreadUse thread{.role = role, .id = id, .pinned = {}, .use = {}};
  thread.use.tid = tid;
  thread.use.last_cpu = tid % 4;
  thread.use.run_ns = static_cast<std::uint64_t>(run_s * kSecond);
  thread.use.wait_ns = static_cast<std::uint64_t>(wait_s * kSecond);
  thread.use.involuntary = involuntary;
  return thread;
}

VmReading vm(const char* name, pid_t qemu, std::chrono::seconds at,
             std::vector<VmThreadUse> threads) {
  VmReading reading;
  reading.entry.name = name;
  reading.entry.condition = VmCondition::kRunning;
  reading.entry.qemu_alive = true;
  reading.entry.state.emplace().qemu = {.pid = qemu, .start_time = 1};
  reading.kernel.at = kBegin + at;
  reading.kernel.threads = std::move(threads);
  reading.kernel.qemu.emplace().hugetlb = Bytes::gib(2);
  return reading;
}

void set_exits(VmReading& reading, std::chrono::seconds at, int exits) {
  QemuReading& told = reading.qemu.emplace();
  told.at = kBegin + at;
  told.cpus = Json::array({{{"cpu-index", 0}, {"qom-path", "/cpu"}}});
  told.vcpu_stats = Json::array(
      {{{"qom-path", "/cpu"}, {"stats", Json::array({{{"name", "exits"}, {"value", exits}}})}}});
}

// Two VMs over two seconds; "busy" has a vCPU that runs half of the time and waits a quarter of it.
std::vector<VmActivity> two_vms(ActivityOrder order) {
  VmReading before = vm("busy", 100, 0s,
                        {thread("emulator", "", 100, 1, 0, 0), thread("vcpu", "0", 101, 5, 1, 10),
                         thread(kOtherThreads, "worker", 102, 0, 0, 0)});
  VmReading after =
      vm("busy", 100, 2s,
         {thread("emulator", "", 100, 1.1, 0, 0), thread("vcpu", "0", 101, 6, 1.5, 14),
          thread(kOtherThreads, "worker", 102, 0.2, 0, 0),
          thread(kOtherThreads, "worker", 103, 9, 0, 0)});
  set_exits(before, 0s, 1000);
  set_exits(after, 1s, 3000);
  const VmReading idle = vm("idle", 200, 0s, {thread("vcpu", "0", 201, 1, 0, 0)});
  VmReading idle_after = idle;
  idle_after.kernel.at = kBegin + 2s;
  return activity_between({idle, before}, {idle_after, after}, order);
}

TEST_CASE("activity is what was counted between two looks, over the time between them") {
  const std::vector<VmActivity> vms = two_vms(ActivityOrder::kRun);
  REQUIRE(vms.size() == 2);
  const VmActivity& busy = vms[0];
  CHECK(busy.name == "busy");
  CHECK(busy.answers);
  CHECK(busy.memory == Bytes::gib(2));
  REQUIRE(busy.threads.size() == 3);
  const ThreadActivity& vcpu = busy.threads[0];
  CHECK(vcpu.role == "vcpu");
  CHECK(vcpu.last_cpu == 1);
  CHECK(vcpu.activity.run == doctest::Approx(0.5));
  CHECK(vcpu.activity.wait == doctest::Approx(0.25));
  CHECK(vcpu.activity.involuntary == doctest::Approx(2));
  // QEMU was asked a second apart.
  CHECK(vcpu.activity.exits.value() == doctest::Approx(2000));
  // The helpers together; one that is new has not done all that it has ever done just now.
  CHECK(busy.threads[1].role == kOtherThreads);
  CHECK(busy.threads[1].id == "2");
  CHECK(busy.threads[1].activity.run == doctest::Approx(0.1));
  CHECK(busy.activity.run == doctest::Approx(0.65));
  CHECK(vms[1].activity.run == 0);
  CHECK_FALSE(vms[1].answers);
  CHECK_FALSE(vms[1].activity.exits.has_value());
}

TEST_CASE("the order is that of the key, and of the names where nothing tells VMs apart") {
  CHECK(two_vms(ActivityOrder::kWait)[0].name == "busy");
  CHECK(two_vms(ActivityOrder::kExits)[0].name == "busy");
  // As the folder lists them.
  CHECK(two_vms(ActivityOrder::kName)[0].name == "idle");
  CHECK(two_vms(ActivityOrder::kName)[1].threads[0].role == "emulator");
  CHECK(activity_order_from("switches") == ActivityOrder::kInvoluntary);
  CHECK_FALSE(activity_order_from("color").has_value());
}

TEST_CASE("a VM that was started again between two looks has done nothing yet") {
  const VmReading before = vm("a", 100, 0s, {thread("vcpu", "0", 101, 5, 0, 0)});
  const VmReading after = vm("a", 300, 2s, {thread("vcpu", "0", 101, 500, 0, 0)});
  const std::vector<VmActivity> vms = activity_between({before}, {after}, ActivityOrder::kRun);
  CHECK(vms.at(0).activity.run == 0);
  CHECK(activity_between({}, {after}, ActivityOrder::kRun).at(0).activity.run == 0);
  CHECK(activity_between({before}, {}, ActivityOrder::kRun).empty());
}

TEST_CASE("a counter that runs backwards counts as standing still") {
  const VmReading before = vm("a", 100, 0s, {thread("vcpu", "0", 101, 5, 5, 5)});
  const VmReading after = vm("a", 100, 2s, {thread("vcpu", "0", 101, 1, 1, 1)});
  const Activity activity = activity_between({before}, {after}, ActivityOrder::kRun).at(0).activity;
  CHECK(activity.run == 0);
  CHECK(activity.wait == 0);
  CHECK(activity.involuntary == 0);
}

TEST_CASE("activity as a table: numbers below each other, no colour unless wanted") {
  const std::vector<std::string> lines = show_activity(two_vms(ActivityOrder::kRun), {});
  REQUIRE(lines.size() == 7);
  CHECK(lines[0] ==
        "NAME                           TID  CPU  RUN%  WAIT%  INVOL/S  EXITS/S  MEMORY");
  CHECK(lines[1] ==
        "busy running                   100       65.0   25.0      2.0     2.0k  2.0GiB");
  CHECK(lines[2] == "  vcpu 0                       101    1  50.0   25.0      2.0     2.0k");
  CHECK(lines[3] == "  2 others                               10.0    0.0        0        -");
  CHECK(lines[5] ==
        "idle running, does not answer  200        0.0    0.0        0        -  2.0GiB");
}

TEST_CASE("a table fits the screen, and says what it leaves out") {
  const std::vector<VmActivity> vms = two_vms(ActivityOrder::kRun);
  const std::vector<std::string> lines =
      show_activity(vms, {.colour = Colour::kOff, .columns = 30, .rows = 4});
  REQUIRE(lines.size() == 4);
  for (const std::string& line : lines) CHECK(columns_of(line) <= 30);
  CHECK(lines[3] == "and 4 lines more");
  const std::vector<std::string> coloured = show_activity(vms, {.colour = Colour::kOn});
  CHECK(coloured[2].starts_with("\x1b[33m"));  // it waits much
  CHECK(coloured[5].starts_with("\x1b[31m"));  // it does not answer
}

TEST_CASE("a name from elsewhere can't write to the terminal") {
  VmReading odd = vm("a", 100, 0s, {thread("iothread", "\x1b[2J", 101, 0, 0, 0)});
  const auto lines = show_activity(activity_between({}, {odd}, ActivityOrder::kRun), {});
  for (const std::string& line : lines) CHECK(line.find('\x1b') == std::string::npos);
}

TEST_CASE("activity as JSON, with null for what is not known") {
  const Json json = to_json(two_vms(ActivityOrder::kRun).at(0));
  CHECK(json.at("name") == "busy");
  CHECK(json.at("threads").at(0).at("exits_per_s") == Json(2000.0));
  CHECK(json.at("threads").at(1).at("tid").is_null());
  CHECK(json.at("threads").at(1).at("exits_per_s").is_null());
}

}  // namespace
