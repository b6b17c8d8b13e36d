// Ports of an Open vSwitch that the test starts, with the datapath in user space.
#include <doctest/doctest.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>

#include "hostcfg/base/error.hpp"
#include "hostcfg/host_lease.hpp"
#include "tests/support/network_sandbox.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/skip.hpp"
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
  return request;
}

std::string port_setting(const std::string& key) {
  return run_ok("ovs-vsctl --timeout=10 get Port v1-net0 " + key);
}

}  // namespace

TEST_CASE("an Open vSwitch port comes with its VLANs and goes again, one of another's stays") {
  if (const auto reason = no_network_sandbox()) SKIP_TEST(*reason);
  for (const char* file : {kSchema, kDatabaseServer, kSwitch}) {
    if (::access(file, R_OK) < 0) SKIP_TEST("there is no openvswitch-switch");
  }
  in_network_sandbox([] {
    const TempFolder folder;
    const RunFolder run_folder(folder.path());
    run_ok("ovsdb-tool create " + folder / "conf.db" + " " + kSchema);
    RunningCommand database(
        in_folder({kDatabaseServer, folder / "conf.db", "--remote=punix:" + folder / "db.sock",
                   "--unixctl=" + folder / "db.ctl", "-vconsole:off", "-vsyslog:off", "-vfile:off"},
                  folder.path()));
    // --no-wait until the switch runs; --retry waits for the server's socket.
    run_ok("ovs-vsctl --timeout=10 --retry --no-wait init");
    RunningCommand vswitch(
        in_folder({kSwitch, "unix:" + folder / "db.sock", "--unixctl=" + folder / "switch.ctl",
                   "--disable-system", "-vconsole:off", "-vsyslog:off", "-vfile:off"},
                  folder.path()));
    run_ok("ovs-vsctl --timeout=20 --retry add-br ovs0 -- set Bridge ovs0 datapath_type=netdev");

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

TEST_CASE("a switch that does not run is said so, in time") {
  if (::access("/usr/bin/ovs-vsctl", X_OK) < 0) SKIP_TEST("there is no openvswitch-switch");
  const TempFolder folder;
  const RunFolder run_folder(folder.path());
  LinuxNet net;
  CHECK_THROWS_WITH_AS(net.ovs_port("p0"), doctest::Contains("db.sock"), Error);
}
