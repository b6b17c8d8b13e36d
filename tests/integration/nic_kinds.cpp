// NICs of every kind as a real QEMU and this kernel have them: what is asked for is read back.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/network_sandbox.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

// A paused VM with these NICs in a sandbox with the veth ends v0, v1 and v2, and a tap of the
// host's own, "given", of several queues.
template <class Look>
void with_nics(const Json& nics, const Look& look) {
  in_network_sandbox([&] {
    VmGuard guard;
    for (const char* name : {"v0", "v1", "v2"}) {
      run_ok(fmt::format("ip link add {0} type veth peer name {0}p", name));
      run_ok(fmt::format("ip link set {} up", name));
      run_ok(fmt::format("ip link set {}p up", name));
    }
    run_ok("ip tuntap add given mode tap multi_queue vnet_hdr");
    run_ok("ip link set given up");
    const std::string before = network_snapshot();
    Json config = guard.config("kinds");
    config["machine"]["accel"] = "tcg";
    config["cpu"] = {{"vcpus", 2}};
    config["nics"] = nics;
    const CommandResult started = guard.vmrig({"start", "--paused", guard.write_config(config)});
    REQUIRE_MESSAGE(started.status == 0, started.err);
    const auto property = [&guard](const std::string& id, const std::string& name) {
      return guard.vmrig_json(
          {"qmp", "kinds", "qom-get",
           Json{{"path", "/machine/peripheral/" + id}, {"property", name}}.dump()});
    };
    look(property);
    const CommandResult stopped = guard.vmrig({"stop", "kinds", "--force"});
    CHECK_MESSAGE(stopped.status == 0, stopped.err);
    CHECK(guard.nothing_left());
    CHECK(network_snapshot() == before);
  });
}

}  // namespace

#define NEED_SANDBOX()                                           \
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64"); \
  if (const auto lack = no_network_sandbox()) SKIP_TEST(*lack)

TEST_CASE("macvtaps of every mode come as asked for, and go") {
  NEED_SANDBOX();
  const Json nics = {
      {{"id", "n0"}, {"type", "macvtap"}, {"parent", "v0"}, {"mode", "vepa"}, {"queues", 2}},
      {{"id", "n1"}, {"type", "macvtap"}, {"parent", "v1"}, {"mode", "private"}},
      {{"id", "n2"},
       {"type", "macvtap"},
       {"parent", "v2"},
       {"mode", "passthru"},
       {"mac", "52:54:00:00:00:42"}}};
  with_nics(nics, [](const auto& property) {
    CHECK(has(run_ok("ip -d link show kinds-n0"), "macvtap mode vepa"));
    CHECK(has(run_ok("ip -d link show kinds-n1"), "macvtap mode private"));
    CHECK(has(run_ok("ip -d link show kinds-n2"), "macvtap mode passthru"));
    CHECK(has(run_ok("ip link show v2"), "52:54:00:00:00:42"));
    CHECK(property("n0", "mq") == true);
    CHECK(property("n0", "vectors") == 6);
  });
}

TEST_CASE("a macvtap on a VLAN comes with the VLAN's device, and both go") {
  NEED_SANDBOX();
  if (std::getenv("VMRIG_FULL_KERNEL") == nullptr) SKIP_TEST("VLAN devices are tried in the lab");
  const Json nics = {
      {{"id", "n0"}, {"type", "macvtap"}, {"parent", "v0"}, {"vlan", 30}},
      {{"id", "n1"}, {"type", "macvtap"}, {"parent", "v0"}, {"vlan", 30}, {"mode", "vepa"}}};
  with_nics(nics, [](const auto&) {
    CHECK(has(run_ok("ip -d link show v0.30"), "vlan protocol 802.1Q id 30"));
    CHECK(has(run_ok("ip -d link show kinds-n0"), "kinds-n0@v0.30"));
    CHECK(has(run_ok("ip -d link show kinds-n0"), "macvtap mode bridge"));
    CHECK(has(run_ok("ip -d link show kinds-n1"), "macvtap mode vepa"));
  });
}

TEST_CASE("an existing tap is used, and left as it was") {
  NEED_SANDBOX();
  const Json nics = {{{"id", "n0"}, {"type", "tap"}, {"device", "given"}, {"queues", 2}}};
  with_nics(nics, [](const auto& property) {
    CHECK(run_ok("cat /sys/class/net/given/carrier") == "1\n");
    CHECK(property("n0", "mq") == true);
  });
}

TEST_CASE("packed rings, queue sizes and no offloads reach QEMU's card") {
  NEED_SANDBOX();
  const Json nics = {{{"id", "n0"},
                      {"type", "tap"},
                      {"address", "10.9.9.1/24"},
                      {"packed", true},
                      {"vhost", false},
                      {"rx_queue_size", 512},
                      {"tx_queue_size", 256},
                      {"mtu", 1400}},
                     {{"id", "n1"}, {"type", "user"}, {"offloads", false}}};
  with_nics(nics, [](const auto& property) {
    CHECK(property("n0", "packed") == true);
    CHECK(property("n0", "rx_queue_size") == 512);
    CHECK(property("n0", "tx_queue_size") == 256);
    CHECK(property("n0", "host_mtu") == 1400);
    CHECK(property("n0", "guest_tso4") == true);
    for (const char* offload : {"csum", "guest_csum", "guest_tso4", "host_tso4", "mrg_rxbuf"}) {
      CHECK_MESSAGE(property("n1", offload) == false, offload);
    }
    CHECK(property("n1", "packed") == false);
  });
}
