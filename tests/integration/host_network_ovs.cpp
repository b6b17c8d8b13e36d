// Ports of an Open vSwitch that the test starts, with the datapath in user space.
#include <doctest/doctest.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "hostcfg/base/error.hpp"
#include "hostcfg/host_lease.hpp"
#include "tests/support/nic_guest.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

const JournalOwner kOwner{"boot", 1, 1};
constexpr const char* kSchema = "/usr/share/openvswitch/vswitch.ovsschema";
constexpr const char* kDatabaseServer = "/usr/sbin/ovsdb-server";
constexpr const char* kSwitch = "/usr/sbin/ovs-vswitchd";

// For the whole process: the library's ovs-vsctl finds the test's switch by it.
class RunFolder {
 public:
  explicit RunFolder(const std::string& folder) { ::setenv("OVS_RUNDIR", folder.c_str(), 1); }
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  ~RunFolder() { ::unsetenv("OVS_RUNDIR"); }
};

CommandRequest in_folder(std::vector<std::string> argv, const std::string& folder) {
  CommandRequest request;
  request.argv = std::move(argv);
  request.environment = {{"OVS_RUNDIR", folder}};
  request.deadline = std::chrono::minutes(5);
  return request;
}

std::string port_setting(const std::string& key) {
  return run_ok("ovs-vsctl --timeout=10 get Port v1-net0 " + key);
}

// The database and the switch, in a folder of their own, with a bridge ovs0.
class OpenVswitch {
 public:
  explicit OpenVswitch(const std::string& folder)
      : run_folder_(folder), database_(start_database(folder)), vswitch_(start_switch(folder)) {
    run_ok("ovs-vsctl --timeout=20 --retry add-br ovs0 -- set Bridge ovs0 datapath_type=netdev");
  }

 private:
  static CommandRequest start_database(const std::string& folder) {
    run_ok("ovsdb-tool create " + folder + "/conf.db " + kSchema);
    return in_folder(
        {kDatabaseServer, folder + "/conf.db", "--remote=punix:" + folder + "/db.sock",
         "--unixctl=" + folder + "/db.ctl", "-vconsole:off", "-vsyslog:off", "-vfile:off"},
        folder);
  }
  static CommandRequest start_switch(const std::string& folder) {
    // --no-wait until the switch runs; --retry waits for the server's socket.
    run_ok("ovs-vsctl --timeout=10 --retry --no-wait init");
    return in_folder({kSwitch, "unix:" + folder + "/db.sock", "--unixctl=" + folder + "/switch.ctl",
                      "--disable-system", "-vconsole:off", "-vsyslog:off", "-vfile:off"},
                     folder);
  }

  RunFolder run_folder_;
  RunningCommand database_;
  RunningCommand vswitch_;
};

}  // namespace

#define NEED_OPENVSWITCH()                                                     \
  for (const char* file : {kSchema, kDatabaseServer, kSwitch}) {               \
    if (::access(file, R_OK) < 0) SKIP_TEST("there is no openvswitch-switch"); \
  }

TEST_CASE("an Open vSwitch port comes with its VLANs and goes again, one of another's stays") {
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  NEED_OPENVSWITCH();
  in_network_sandbox([] {
    const TempFolder folder;
    const OpenVswitch vswitch(folder.path());
    LinuxHost host;
    HostLease lease(host, folder / "journal", kOwner);
    const AddOvsPort action{.bridge = "ovs0", .port = "v1-net0", .tag = 5, .trunks = {6, 7}};
    lease.apply(CreateTap{.name = "v1-net0"});
    lease.apply(action);
    CHECK(port_setting("tag") == "5\n");
    CHECK(port_setting("trunks") == "[6, 7]\n");
    CHECK(run_ok("ovs-vsctl list-ports ovs0") == "v1-net0\n");
    CHECK(run_ok("ovs-vsctl get Interface v1-net0 error") == "[]\n");
    HostLease other(host, folder / "other", kOwner);
    CHECK_THROWS_WITH_AS(other.apply(action), doctest::Contains("a port of ovs0 already"), Error);
    const UndoReport report = lease.undo();
    CHECK(report.complete());
    for (const UndoLine& line : report.lines) {
      CHECK_MESSAGE(line.result == UndoLine::Result::kPutBack, line.text);
    }
    CHECK(run_ok("ovs-vsctl list-ports ovs0").empty());

    lease.apply(CreateTap{.name = "v1-net0"});
    lease.apply(action);
    run_ok("ovs-vsctl del-port v1-net0 -- add-port ovs0 v1-net0");
    const UndoReport left = lease.undo();
    CHECK(left.lines.at(0).result == UndoLine::Result::kLeft);
    CHECK(run_ok("ovs-vsctl list-ports ovs0") == "v1-net0\n");
    CHECK_THROWS_WITH_AS(host.net().add_ovs_port({.bridge = "absent", .port = "p0"}, "m"),
                         doctest::Contains("no bridge named absent"), Error);
  });
}

TEST_CASE("a guest on an Open vSwitch port reaches its VLAN, and no other") {
  NEED_NETWORK();
  NEED_OPENVSWITCH();
  in_network_sandbox([] {
    VmGuard guard;
    const Peer peer;
    const TempFolder folder;
    const OpenVswitch vswitch(folder.path());
    run_ok("ovs-vsctl --timeout=20 add-port ovs0 peer0 tag=5");
    Json config = guest_config(guard, "traffic");
    config["nics"] =
        Json::array({{{"id", "net0"}, {"type", "tap"}, {"ovs", {{"bridge", "ovs0"}, {"tag", 5}}}}});
    with_guest(guard, peer, config, [](NicGuest& vm) {
      CHECK(run_ok("ovs-vsctl get Port traffic-net0 tag") == "5\n");
      set_address(vm);
      await_ping(vm);
      // ovs-vsctl returns when the switch has done it.
      run_ok("ovs-vsctl --timeout=20 set Port peer0 tag=6");
      CHECK(vm.console.ask("ping -c 3 -W 1 10.9.0.1").status != 0);
      run_ok("ovs-vsctl --timeout=20 set Port peer0 tag=5");
      await_ping(vm);
    });
    CHECK(run_ok("ovs-vsctl list-ports ovs0") == "peer0\n");
  });
}

TEST_CASE("a switch that does not run is said so, in time") {
  if (::access("/usr/bin/ovs-vsctl", X_OK) < 0) SKIP_TEST("there is no openvswitch-switch");
  const TempFolder folder;
  const RunFolder run_folder(folder.path());
  LinuxNet net;
  CHECK_THROWS_WITH_AS(net.ovs_port("p0"), doctest::Contains("db.sock"), Error);
}
