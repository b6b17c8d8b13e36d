// Against the host that the tests run on.
#include <doctest/doctest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "hostcfg/base/error.hpp"
#include "hostcfg/read_facts.hpp"
#include "hostcfg/thread_affinity.hpp"

using namespace vmrig;

namespace {

// A thread that waits, and is there as long as this object.
class WaitingThread {
 public:
  WaitingThread() : thread_([this] { run(); }) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return tid_ != 0; });
  }
  WaitingThread(const WaitingThread&) = delete;
  WaitingThread& operator=(const WaitingThread&) = delete;
  ~WaitingThread() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  pid_t tid() const { return tid_; }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    tid_ = ::gettid();
    changed_.notify_all();
    changed_.wait(lock, [this] { return done_; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  pid_t tid_ = 0;
  bool done_ = false;
  std::thread thread_;
};

std::string line_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

TEST_CASE("the facts of this host agree with the kernel's own files") {
  const Topology topology = Topology::of_this_host();
  const HostFacts facts = read_host_facts({}, topology);
  CHECK(facts.online() == CpuSet::parse(line_of("/sys/devices/system/cpu/online")));
  CHECK(facts.affinity == thread_affinity(::getpid()));
  CHECK(facts.present.includes(facts.online()));
  CHECK(facts.online().includes(facts.allowed));
  CHECK_FALSE(facts.allowed.empty());
  CHECK(facts.kernel_release == line_of("/proc/sys/kernel/osrelease"));
  CHECK(facts.boot_id == line_of("/proc/sys/kernel/random/boot_id"));
  CHECK(facts.user_id == ::geteuid());
  REQUIRE_FALSE(facts.nodes.empty());
  CpuSet of_nodes;
  for (const NumaNode& node : facts.nodes) of_nodes = of_nodes | node.cpus;
  CHECK(of_nodes == facts.online());
  CHECK(std::any_of(facts.nodes.begin(), facts.nodes.end(),
                    [](const NumaNode& node) { return node.memory_total > Bytes::mib(64); }));
  for (const CpuFacts& cpu : facts.cpus) {
    CHECK(facts.find_node(cpu.node) != nullptr);
    CHECK(facts.siblings(cpu.id).contains(cpu.id));
  }
  CHECK(std::any_of(facts.net.begin(), facts.net.end(),
                    [](const NetDeviceFacts& device) { return device.kind == "loopback"; }));
  CHECK(facts.kvm.exists == (::access("/dev/kvm", F_OK) == 0));
}

TEST_CASE("the kernel's own tables tell of this host what hwloc's discovery tells") {
  const Topology ours = Topology::of_this_host();
  const Topology hwlocs = Topology::by_hwloc();
  REQUIRE(ours.cpus().size() == hwlocs.cpus().size());
  for (std::size_t i = 0; i < ours.cpus().size(); ++i) {
    const CpuFacts& one = ours.cpus()[i];
    const CpuFacts& other = hwlocs.cpus()[i];
    CHECK(one.id == other.id);
    CHECK(one.core == other.core);
    CHECK(one.package == other.package);
    CHECK(one.l3 == other.l3);
    CHECK(one.node == other.node);
  }
  REQUIRE(ours.nodes().size() == hwlocs.nodes().size());
  for (std::size_t i = 0; i < ours.nodes().size(); ++i) {
    CHECK(ours.nodes()[i].id == hwlocs.nodes()[i].id);
    CHECK(ours.nodes()[i].cpus == hwlocs.nodes()[i].cpus);
    CHECK(ours.nodes()[i].memory == hwlocs.nodes()[i].memory);
  }
}

TEST_CASE("the facts of this host can be recorded and read again") {
  const HostFacts facts = read_host_facts({}, Topology::of_this_host());
  const Json json = to_json(facts);
  CHECK(to_json(facts_from_json(Json::parse(json.dump()))) == json);
}

TEST_CASE("a thread is pinned, and the kernel confirms it") {
  const Topology topology = Topology::of_this_host();
  const WaitingThread thread;
  const CpuSet before = thread_affinity(thread.tid());
  for (const int cpu : before.cpus()) {
    pin_thread(topology, thread.tid(), CpuSet{cpu});
    CHECK(thread_affinity(thread.tid()) == CpuSet{cpu});
  }
  pin_thread(topology, thread.tid(), before);
  CHECK(thread_affinity(thread.tid()) == before);
  CHECK(thread_affinity(0) == before);  // nobody else was moved
}

TEST_CASE("pinning that can't be done says which thread, which CPUs and why") {
  const Topology topology = Topology::of_this_host();
  const WaitingThread thread;
  const std::string tid = std::to_string(thread.tid());
  const CpuSet beyond = {8191};
  REQUIRE_FALSE(thread_affinity(0).contains(8191));
  CHECK_THROWS_WITH_AS(pin_thread(topology, thread.tid(), beyond), doctest::Contains("\"8191\""),
                       Error);
  CHECK_THROWS_WITH_AS(pin_thread(topology, thread.tid(), beyond), doctest::Contains(tid.c_str()),
                       Error);
  CHECK_THROWS_WITH_AS(pin_thread(topology, thread.tid(), {}), doctest::Contains("empty"), Error);
  const CpuSet more = thread_affinity(thread.tid()) | beyond;
  CHECK_THROWS_WITH_AS(pin_thread(topology, thread.tid(), more), doctest::Contains("granted only"),
                       Error);
  constexpr pid_t kNoThread = 0x7ffffffe;  // above every pid_max
  CHECK_THROWS_WITH_AS(pin_thread(topology, kNoThread, CpuSet{0}),
                       doctest::Contains("no such thread"), Error);
  CHECK_THROWS_WITH_AS(thread_affinity(kNoThread), doctest::Contains("2147483646"), Error);
}

TEST_CASE("a made-up topology has unique cores, packages and caches over the whole host") {
  const Topology topology =
      Topology::from_description("package:2 numa:1 l3:2 core:2 pu:2(indexes=numa:core:pu)");
  const std::vector<CpuFacts> cpus = topology.cpus();
  REQUIRE(cpus.size() == 16);
  CHECK(cpus.back().id == 15);
  int highest_core = 0;
  int highest_l3 = 0;
  for (const CpuFacts& cpu : cpus) {
    highest_core = std::max(highest_core, cpu.core);
    highest_l3 = std::max(highest_l3, cpu.l3);
  }
  CHECK(highest_core == 7);
  CHECK(highest_l3 == 3);
  CHECK(topology.nodes().size() == 2);
}

TEST_CASE("another machine's topology is read from hwloc's XML, and threads are bound by it too") {
  const Topology topology = Topology::from_xml(
      R"(<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE topology SYSTEM "hwloc2.dtd">
<topology version="2.0">
  <object type="Machine" os_index="0" cpuset="0x30" complete_cpuset="0x30" allowed_cpuset="0x10"
   nodeset="0x2" complete_nodeset="0x2" allowed_nodeset="0x2" gp_index="1">
    <object type="NUMANode" os_index="1" cpuset="0x30" complete_cpuset="0x30" nodeset="0x2"
     complete_nodeset="0x2" gp_index="2" local_memory="4096"/>
    <object type="Core" os_index="0" cpuset="0x30" complete_cpuset="0x30" nodeset="0x2"
     complete_nodeset="0x2" gp_index="3">
      <object type="PU" os_index="4" cpuset="0x10" complete_cpuset="0x10" nodeset="0x2"
       complete_nodeset="0x2" gp_index="4"/>
      <object type="PU" os_index="5" cpuset="0x20" complete_cpuset="0x20" nodeset="0x2"
       complete_nodeset="0x2" gp_index="5"/>
    </object>
  </object>
</topology>)");
  const std::vector<CpuFacts> cpus = topology.cpus();
  REQUIRE(cpus.size() == 2);  // the one that was not allowed there too
  CHECK(cpus[1].id == 5);
  CHECK(cpus[1].core == 0);
  CHECK(cpus[1].node == 1);
  CHECK(cpus[1].package == -1);
  CHECK(topology.nodes().at(0).memory == Bytes::kib(4));
  const WaitingThread thread;
  const CpuSet one = {thread_affinity(thread.tid()).first()};
  pin_thread(topology, thread.tid(), one);
  CHECK(thread_affinity(thread.tid()) == one);
}

TEST_CASE("what is no topology is refused") {
  CHECK_THROWS_AS(Topology::from_description("numa:banana"), Error);
  CHECK_THROWS_AS(Topology::from_xml("<not-a-topology/>"), Error);
  CHECK_THROWS_AS(Topology::from_xml(""), Error);
}

TEST_CASE("a topology that the environment swapped is not taken for this host") {
  // hwloc reads the variable while it loads; no other thread runs in this test.
  REQUIRE(::setenv("HWLOC_SYNTHETIC", "numa:4 core:8 pu:2", 1) == 0);
  bool refused = false;
  try {
    Topology::by_hwloc();
  } catch (const Error& error) {
    refused = error.parts().mend.find("HWLOC_SYNTHETIC") != std::string::npos;
  }
  const std::vector<CpuFacts> seen = Topology::of_this_host().cpus();
  ::unsetenv("HWLOC_SYNTHETIC");
  CHECK(refused);
  CHECK(seen.size() == CpuSet::parse(line_of("/sys/devices/system/cpu/online")).size());
}
