// What a VM changes on the host, and who undoes it; against a host that only remembers.
#include "launcher/host_work.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "hostcfg/journal.hpp"
#include "launcher/net_shares.hpp"
#include "launcher/vf_shares.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/unit/fake_access.hpp"
#include "tests/unit/fake_cgroups.hpp"
#include "tests/unit/fake_memory.hpp"
#include "tests/unit/fake_net.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

const PciAddress kPf{0, 0x3b, 0, 1};
const PciAddress kVf0{0, 0x3b, 0x10, 1};
const PciAddress kVf1{0, 0x3b, 0x10, 3};

class FakeHost final : public HostControl {
 public:
  std::map<PciAddress, DriverState> drivers = {{kVf0, {"ixgbevf", ""}}, {kVf1, {"ixgbevf", ""}}};
  int vfs = 0;
  bool refuses_to_restore = false;
  std::function<void()> on_bind;

  bool is_module_loaded(const std::string&) override { return true; }
  void load_module(const std::string&) override {}
  int vf_count(const PciAddress&) override { return vfs; }
  void set_vf_count(const PciAddress&, int count) override { vfs = count; }
  std::vector<std::string> vf_holders(const PciAddress&) override { return {}; }
  std::optional<PciAddress> vf_address(const PciAddress&, int index) override {
    if (index >= vfs) return std::nullopt;
    return index == 0 ? kVf0 : kVf1;
  }
  VfRecord vf_record(const PciAddress&, int) override { return {}; }
  void set_vf(const PciAddress&, int, const VfSettings&) override {}
  std::optional<DriverState> driver_state(const PciAddress& device) override {
    const auto found = drivers.find(device);
    return found == drivers.end() ? DriverState{"ixgbe", ""} : found->second;
  }
  void bind_driver(const PciAddress& device, const std::string& driver) override {
    drivers.at(device) = {driver, driver};
    if (on_bind) on_bind();
  }
  NetControl& net() override { return network; }
  CgroupControl& cgroups() override { return groups; }
  testing::FakeCgroups groups;
  MemoryControl& memory() override { return pools; }
  AccessControl& access() override { return files; }
  testing::FakeAccess files;
  testing::FakeMemory pools;
  FakeNet network;
  void unbind_driver(const PciAddress& device) override { drivers.at(device).driver.clear(); }
  void restore_driver(const PciAddress& device, const DriverState& old) override {
    if (refuses_to_restore) {
      throw Error({.operation = "bind", .object = {}, .cause = "the host refuses", .mend = {}});
    }
    drivers.at(device) = old;
  }
};

VmState state_of(const std::string& name, const PciAddress& vf) {
  VmState state;
  state.name = name;
  state.claim.vm = name;
  state.claim.pci = {vf};
  return state;
}

PassedDevice passed(const PciAddress& vf, int index) {
  PassedDevice device;
  device.id = "net1";
  device.address = vf;
  device.pf = kPf;
  device.pf_name = "eno2";
  device.vf_index = index;
  return device;
}

PassedDevice new_vf(const PciAddress& vf, int index) {
  PassedDevice device = passed(vf, index);
  device.is_new = true;
  return device;
}

Plan plan_with(const std::vector<HostAction>& actions, const PassedDevice& device) {
  Plan plan;
  plan.passed = {device};
  for (const HostAction& action : actions) plan.host_steps.push_back({action, "", ""});
  return plan;
}

struct Machine {
  TempFolder folder;
  StateRoot root = StateRoot::open(folder / "state");
  FakeHost host;
  std::atomic<bool> is_cancelled = false;

  VmFolder claim(const std::string& name, const PciAddress& vf) {
    VmState state = state_of(name, vf);
    return root.claim(root.lock(), state);
  }
  // As a start does it, up to the host steps.
  VmFolder claim_for(const std::string& name, const Plan& plan) {
    const StateRoot::Lock lock = root.lock();
    VmState state = state_of(name, plan.passed.front().address);
    VmFolder vm = root.claim(lock, state);
    claim_vf_shares(host, plan, vm, lock);
    return vm;
  }
  std::vector<RecoveredVm> recover() { return recover_dead_vms(root, root.lock(), host); }
};

}  // namespace

TEST_CASE("steps are applied in order and undone, and a second undo finds nothing to do") {
  Machine machine;
  const VmFolder vm = machine.claim("a", kVf0);
  const Plan plan = plan_with({BindDriver{kVf0, "vfio-pci"}}, passed(kVf0, 0));
  CHECK_FALSE(has_journal(vm));
  apply_host_steps(machine.host, plan, vm, machine.is_cancelled);
  CHECK(machine.host.drivers.at(kVf0).driver == "vfio-pci");
  CHECK(has_journal(vm));
  const UndoReport report = undo_host_steps(machine.host, vm);
  CHECK(report.complete());
  CHECK(report_lines(report).size() == 1);
  CHECK(machine.host.drivers.at(kVf0) == DriverState{"ixgbevf", ""});
  CHECK(undo_host_steps(machine.host, vm).lines.empty());
}

TEST_CASE("a stop that comes meanwhile ends the preparation before the next step") {
  Machine machine;
  const VmFolder vm = machine.claim("a", kVf0);
  machine.host.on_bind = [&machine] { machine.is_cancelled = true; };
  const Plan plan =
      plan_with({BindDriver{kVf0, "vfio-pci"}, BindDriver{kVf1, "vfio-pci"}}, passed(kVf0, 0));
  CHECK_THROWS_AS(apply_host_steps(machine.host, plan, vm, machine.is_cancelled), Error);
  CHECK(machine.host.drivers.at(kVf0).driver == "vfio-pci");
  CHECK(machine.host.drivers.at(kVf1).driver == "ixgbevf");
  CHECK(undo_host_steps(machine.host, vm).complete());
  CHECK(machine.host.drivers.at(kVf0).driver == "ixgbevf");
}

TEST_CASE("recovery leaves living VMs alone, undoes for dead ones and removes their folders") {
  Machine machine;
  const Plan plan = plan_with({BindDriver{kVf0, "vfio-pci"}}, passed(kVf0, 0));
  {
    VmFolder vm = machine.claim("a", kVf0);
    apply_host_steps(machine.host, plan, vm, machine.is_cancelled);
    CHECK(machine.recover().empty());
    CHECK(machine.host.drivers.at(kVf0).driver == "vfio-pci");
  }  // its lock goes, as with its supervisor's life
  const std::vector<RecoveredVm> recovered = machine.recover();
  REQUIRE(recovered.size() == 1);
  CHECK(recovered.front().removed);
  CHECK(recovered.front().report.complete());
  CHECK(machine.host.drivers.at(kVf0).driver == "ixgbevf");
  CHECK_FALSE(machine.root.find("a"));
}

TEST_CASE("what can't be put back keeps its folder, and is tried again") {
  Machine machine;
  const Plan plan = plan_with({BindDriver{kVf0, "vfio-pci"}}, passed(kVf0, 0));
  {
    const VmFolder vm = machine.claim("a", kVf0);
    apply_host_steps(machine.host, plan, vm, machine.is_cancelled);
  }
  machine.host.refuses_to_restore = true;
  const std::vector<RecoveredVm> refused = machine.recover();
  REQUIRE(refused.size() == 1);
  CHECK_FALSE(refused.front().removed);
  CHECK_FALSE(unfinished(refused.front().report).empty());
  CHECK(machine.root.find("a"));
  // A mere cleaning must not lose the journal either.
  CHECK(machine.root.clean(machine.root.lock()).removed.empty());
  machine.host.refuses_to_restore = false;
  CHECK(machine.recover().front().removed);
  CHECK(machine.host.drivers.at(kVf0).driver == "ixgbevf");
}

TEST_CASE("VFs that one VM made stay for another, and go with the last") {
  Machine machine;
  const std::vector<HostAction> make = {SetVfCount{kPf, 2}};
  const PassedDevice first = new_vf(kVf0, 0);
  const PassedDevice second = new_vf(kVf1, 1);
  VmFolder a = machine.claim("a", kVf0);
  VmFolder b = machine.claim("b", kVf1);
  apply_host_steps(machine.host, plan_with(make, first), a, machine.is_cancelled);
  apply_host_steps(machine.host, plan_with(make, second), b, machine.is_cancelled);
  CHECK(machine.host.vfs == 2);
  undo_host_steps(machine.host, a);
  CHECK(machine.host.vfs == 2);
  a.remove();
  undo_host_steps(machine.host, b);
  CHECK(machine.host.vfs == 0);
}

TEST_CASE("of two VMs that end at the same moment, the later takes the VFs away") {
  constexpr int kRounds = 20;
  for (int round = 0; round < kRounds; ++round) {
    Machine machine;
    const Plan first = plan_with({SetVfCount{kPf, 2}}, new_vf(kVf0, 0));
    const Plan second = plan_with({SetVfCount{kPf, 2}}, new_vf(kVf1, 1));
    const VmFolder a = machine.claim_for("a", first);
    const VmFolder b = machine.claim_for("b", second);
    apply_host_steps(machine.host, first, a, machine.is_cancelled);
    apply_host_steps(machine.host, second, b, machine.is_cancelled);
    REQUIRE(machine.host.vfs == 2);
    {
      // Both supervisors still live when the other looks who needs the VFs.
      const std::jthread ending_a([&] { undo_host_steps(machine.host, a); });
      const std::jthread ending_b([&] { undo_host_steps(machine.host, b); });
    }
    REQUIRE(machine.host.vfs == 0);
  }
}

TEST_CASE("a VM that is still being prepared keeps the VFs of one that ends, and takes them away") {
  Machine machine;
  const Plan first = plan_with({SetVfCount{kPf, 2}}, new_vf(kVf0, 0));
  SUBCASE("planned when there were none") {
    const Plan second = plan_with({SetVfCount{kPf, 2}}, new_vf(kVf1, 1));
    VmFolder a = machine.claim_for("a", first);
    const VmFolder b = machine.claim_for("b", second);
    apply_host_steps(machine.host, first, a, machine.is_cancelled);
    undo_host_steps(machine.host, a);
    a.remove();
    CHECK(machine.host.vfs == 2);
    apply_host_steps(machine.host, second, b, machine.is_cancelled);
    CHECK(machine.host.vfs == 2);
    undo_host_steps(machine.host, b);
  }
  SUBCASE("planned with another number of them") {
    const Plan second = plan_with({SetVfCount{kPf, 4}}, new_vf(kVf1, 1));
    VmFolder a = machine.claim_for("a", first);
    const VmFolder b = machine.claim_for("b", second);
    apply_host_steps(machine.host, first, a, machine.is_cancelled);
    apply_host_steps(machine.host, second, b, machine.is_cancelled);
    CHECK(machine.host.vfs == 2);
    undo_host_steps(machine.host, a);
    CHECK(machine.host.vfs == 2);
    undo_host_steps(machine.host, b);
  }
  SUBCASE("planned when they were there") {
    const Plan second = plan_with({}, passed(kVf1, 1));
    VmFolder a = machine.claim_for("a", first);
    apply_host_steps(machine.host, first, a, machine.is_cancelled);
    const VmFolder b = machine.claim_for("b", second);
    undo_host_steps(machine.host, a);
    a.remove();
    CHECK(machine.host.vfs == 2);
    apply_host_steps(machine.host, second, b, machine.is_cancelled);
    undo_host_steps(machine.host, b);
  }
  SUBCASE("and dies before its first step") {
    const Plan second = plan_with({SetVfCount{kPf, 2}}, new_vf(kVf1, 1));
    VmFolder a = machine.claim_for("a", first);
    {
      const VmFolder b = machine.claim_for("b", second);
      apply_host_steps(machine.host, first, a, machine.is_cancelled);
      undo_host_steps(machine.host, a);
      a.remove();
      CHECK(machine.host.vfs == 2);
    }
    CHECK(machine.recover().size() == 1);
  }
  CHECK(machine.host.vfs == 0);
}

TEST_CASE("VFs that nobody of vmrig made stay, whoever used them") {
  Machine machine;
  machine.host.vfs = 2;
  const Plan plan = plan_with({BindDriver{kVf0, "vfio-pci"}}, passed(kVf0, 0));
  const VmFolder vm = machine.claim_for("a", plan);
  CHECK_FALSE(has_journal(vm));
  apply_host_steps(machine.host, plan, vm, machine.is_cancelled);
  undo_host_steps(machine.host, vm);
  CHECK(machine.host.vfs == 2);
}

TEST_CASE("a VF that does not come free keeps the VFs and the share in them until the next try") {
  Machine machine;
  const Plan plan = plan_with({SetVfCount{kPf, 2}, BindDriver{kVf0, "vfio-pci"}}, new_vf(kVf0, 0));
  {
    const VmFolder vm = machine.claim_for("a", plan);
    apply_host_steps(machine.host, plan, vm, machine.is_cancelled);
    machine.host.refuses_to_restore = true;
    CHECK_FALSE(undo_host_steps(machine.host, vm).complete());
    CHECK(machine.host.vfs == 2);
  }
  machine.host.refuses_to_restore = false;
  CHECK(machine.recover().front().removed);
  CHECK(machine.host.vfs == 0);
}

TEST_CASE("a bridge that two VMs asked for goes with the last of them, dead or alive") {
  Machine machine;
  const auto plan_for = [](const std::string& tap) {
    Plan plan;
    for (const HostAction& action :
         {HostAction(CreateBridge{.name = "br0"}), HostAction(CreateTap{.name = tap}),
          HostAction(JoinBridge{.device = tap, .bridge = "br0"})}) {
      plan.host_steps.push_back({action, "", ""});
    }
    return plan;
  };
  const auto claim_net = [&machine](const VmFolder& vm, const Plan& plan) {
    claim_net_shares(machine.host, plan, vm, machine.root.lock());
  };
  auto& links = machine.host.network.links;
  const Plan first = plan_for("a-net0");
  const Plan second = plan_for("b-net0");
  VmFolder a = machine.claim("a", kVf0);
  claim_net(a, first);
  CHECK(links.empty());
  apply_host_steps(machine.host, first, a, machine.is_cancelled);
  {
    const VmFolder b = machine.claim("b", kVf1);
    claim_net(b, second);
    SUBCASE("while the second is still being prepared") {
      CHECK(undo_host_steps(machine.host, a).complete());
      CHECK(links.count("br0") == 1);
      CHECK(links.size() == 1);
      apply_host_steps(machine.host, second, b, machine.is_cancelled);
    }
    SUBCASE("while the second runs") {
      apply_host_steps(machine.host, second, b, machine.is_cancelled);
      CHECK(undo_host_steps(machine.host, a).complete());
      CHECK(links.size() == 2);
    }
    a.remove();
  }
  CHECK(machine.recover().size() == 1);
  CHECK(links.empty());
}

TEST_CASE("a VF that comes elsewhere than the plan says is refused") {
  Machine machine;
  const VmFolder vm = machine.claim("a", kVf0);
  const PassedDevice device = new_vf(kVf1, 0);
  CHECK_THROWS_WITH(apply_host_steps(machine.host, plan_with({SetVfCount{kPf, 2}}, device), vm,
                                     machine.is_cancelled),
                    doctest::Contains("VF 0 came at 0000:3b:10.1, 0000:3b:10.3 was told"));
  CHECK(undo_host_steps(machine.host, vm).complete());
  CHECK(machine.host.vfs == 0);
}

TEST_CASE("work aside runs on another thread while the loop goes on, and its fault comes back") {
  boost::asio::io_context context(1);
  const std::thread::id here = std::this_thread::get_id();
  std::thread::id there = here;
  bool has_failed = false;
  const auto run = [&]() -> boost::asio::awaitable<void> {
    std::function<void()> work = [&there] { there = std::this_thread::get_id(); };
    co_await run_aside(std::move(work));
    std::function<void()> failing = [] {
      throw Error({.operation = "fail", .object = {}, .cause = {}, .mend = {}});
    };
    try {
      co_await run_aside(std::move(failing));
    } catch (const Error&) {
      has_failed = true;
    }
  };
  boost::asio::co_spawn(context, run(), [](std::exception_ptr fault) { CHECK_FALSE(fault); });
  context.run();
  CHECK(there != here);
  CHECK(has_failed);
}
