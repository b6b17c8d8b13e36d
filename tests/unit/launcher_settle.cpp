// What a new supervisor makes of an attach or detach that the old one was in the middle of.
#include <doctest/doctest.h>

#include <boost/asio/io_context.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hostcfg/journal.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/host_work.hpp"
#include "launcher/hotplug/hotplug.hpp"
#include "tests/support/mock_qmp_server.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/unit/qmp_test_loop.hpp"

using namespace vmrig;
using namespace vmrig::testing;
using qmp::testing::MockQmpServer;
using qmp::testing::MockReply;

namespace {

MockReply value(Json json) {
  MockReply reply;
  reply.value = std::move(json);
  return reply;
}

MockReply not_found() {
  MockReply reply;
  reply.error_class = "DeviceNotFound";
  reply.desc = "Device not found";
  return reply;
}

Json children(const std::vector<std::string>& names) {
  Json list = Json::array();
  for (const std::string& name : names) {
    list.push_back({{"name", name}, {"type", "child<device>"}});
  }
  return list;
}

// A VM with the disks "d0" and "d1", and a NIC "net0" on a tap with two queues and vhost.
struct Machine {
  explicit Machine(const std::vector<std::string>& in_qemu) {
    const Json config = {
        {"name", "vm"},
        {"memory", {{"size", "64MiB"}}},
        {"disks", {{{"id", "d0"}, {"path", "/d0"}}, {{"id", "d1"}, {"path", "/d1"}}}},
        {"nics",
         {{{"id", "net0"}, {"type", "tap"}, {"address", "10.0.0.1/24"}, {"link", "down"}}}}};
    state.name = "vm";
    state.config = to_json(config_from_json(config));
    state.claim.written_disks = {"/d0", "/d1"};
    state.nics = {{.id = "net0",
                   .host_end = {.interface = "vm-net0", .queues = 2, .vhost = true},
                   .text = "tap"}};
    for (const char* command : {"blockdev-del", "netdev_del", "set_link", "remove-fd"}) {
      qemu.set_reply(command, {});
    }
    qemu.set_reply("closefd", not_found());
    qemu.set_reply("qom-list", value(children(in_qemu)));
    qemu.set_reply("query-fdsets", value(Json::array()));
    qemu.set_reply("query-cpus-fast", value(Json::array({{{"cpu-index", 0}, {"thread-id", 1}}})));
    qmp::testing::run(loop, [this]() -> boost::asio::awaitable<void> {
      (void)co_await monitor.handshake(qmp::testing::soon());
    });
  }

  void settle() {
    qmp::testing::run(loop,
                      [this]() -> boost::asio::awaitable<void> { co_await hotplug.settle(); });
  }

  std::vector<Json> arguments_of(const std::string& command) const {
    std::vector<Json> list;
    for (const Json& request : qemu.requests()) {
      if (request.value("execute", std::string()) == command) {
        list.push_back(request.at("arguments"));
      }
    }
    return list;
  }
  std::vector<std::string> ids_of(const char* list) const {
    std::vector<std::string> ids;
    for (const Json& device : state.config.at(list)) {
      ids.push_back(device.at("id").get<std::string>());
    }
    return ids;
  }

  TempFolder folder;
  MockQmpServer qemu;
  boost::asio::io_context loop;
  qmp::Client monitor{loop.get_executor(), qemu.connect()};
  VmState state;
  StateRoot root = StateRoot::open(folder / "state");
  VmState claimed = named("vm");
  VmFolder vm = root.claim(root.lock(), claimed);
  std::vector<std::string> log;
  HostSide host{loop.get_executor(), [this](const std::string& line) { log.push_back(line); },
                [] {}};
  Hotplug hotplug{{.executor = loop.get_executor(),
                   .monitor = [this]() -> qmp::Client& { return monitor; },
                   .state = state,
                   .save = [] {},
                   .save_or_throw = [] {},
                   .folder = [this]() -> VmFolder& { return vm; },
                   .host = host,
                   .log = [this](const std::string& line) { log.push_back(line); }}};

 private:
  static VmState named(const std::string& name) {
    VmState made;
    made.name = name;
    return made;
  }
};

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("what QEMU has stays as it is") {
  Machine machine({"d0", "d1", "net0"});
  machine.settle();
  CHECK(machine.ids_of("disks") == Names{"d0", "d1"});
  CHECK(machine.arguments_of("blockdev-del").empty());
  CHECK(machine.arguments_of("netdev_del").empty());
  CHECK(machine.arguments_of("closefd").empty());
  CHECK(machine.state.claim.written_disks == Names{"/d0", "/d1"});
  // A link that was to be down is so, whoever it was that made the NIC.
  CHECK(machine.arguments_of("set_link") == std::vector<Json>{{{"name", "net0"}, {"up", false}}});
  CHECK(machine.log.empty());
}

TEST_CASE("of a disk that is not in QEMU its nodes go, and its claim") {
  Machine machine({"d0", "net0"});
  machine.state.pending_unplugs = {"d1"};
  machine.settle();
  CHECK(machine.ids_of("disks") == Names{"d0"});
  CHECK(machine.arguments_of("blockdev-del") ==
        std::vector<Json>{{{"node-name", "d1-format"}}, {{"node-name", "d1-file"}}});
  CHECK(machine.state.claim.written_disks == Names{"/d0"});
  CHECK(machine.state.pending_unplugs.empty());
}

TEST_CASE("of a NIC that is not in QEMU the fds that it was handed go, and the netdev") {
  Machine machine({"d0", "d1"});
  machine.settle();
  CHECK(machine.ids_of("nics").empty());
  CHECK(machine.state.nics.empty());
  CHECK(machine.arguments_of("closefd") == std::vector<Json>{{{"fdname", "vmrig-net0-0"}},
                                                             {{"fdname", "vmrig-net0-1"}},
                                                             {{"fdname", "vmrig-net0-2"}},
                                                             {{"fdname", "vmrig-net0-3"}}});
  CHECK(machine.arguments_of("netdev_del") == std::vector<Json>{{{"id", "net0"}}});
  CHECK(machine.state.claim.interfaces.empty());
}

TEST_CASE("files that a dead supervisor handed over and did not claim go, and nobody else's") {
  Machine machine({"d0", "d1", "net0"});
  const auto set_of = [](int id, const std::string& mark) {
    return Json{{"fdset-id", id}, {"fds", {{{"fd", 20 + id}, {"opaque", mark}}}}};
  };
  machine.qemu.set_reply(
      "query-fdsets",
      value({set_of(1, "vmrig-memory-1"), set_of(2, memory_file_mark()), set_of(3, "a client's"),
             Json{{"fdset-id", 4}, {"fds", {{{"fd", 24}}}}},
             Json{{"fdset-id", 10'006}, {"fds", {{{"fd", 25}}}}},
             Json{{"fdset-id", 10'007}, {"fds", {{{"fd", 26}}}}},
             Json{{"fdset-id", 20'000}, {"fds", {{{"fd", 27}}}}}}));
  machine.state.next_fd_set = 10'007;
  machine.state.disks["d0"].fd_sets = {10'006};
  machine.settle();
  CHECK(machine.arguments_of("remove-fd") ==
        std::vector<Json>{{{"fdset-id", 1}}, {{"fdset-id", 10'007}}});
  CHECK(machine.state.next_fd_set > 10'007);
}

TEST_CASE("shares that were claimed for a device which the state does not know are given back") {
  Machine machine({"d0", "d1", "net0"});
  const CreateBridge known{.name = "vmrig-none0"};
  const CreateBridge stray{.name = "vmrig-none1"};
  {
    Journal journal(machine.vm.path_of(kJournalName), this_owner());
    (void)journal.intent(known, {});
    (void)journal.intent(stray, {});
  }
  machine.state.host_changes = {
      {.kind = "bridge", .text = {}, .undo = {}, .action = to_json(HostAction(known))}};
  machine.settle();
  const auto journal = read_journal(machine.vm.path_of(kJournalName));
  REQUIRE(journal);
  REQUIRE(journal->open().size() == 1);
  CHECK(journal->open().front()->action == HostAction(known));
}

TEST_CASE("a QEMU that does not answer is no end of the supervisor, and nothing is taken from it") {
  Machine machine({"d0"});
  machine.qemu.set_reply("query-fdsets", not_found());
  machine.settle();
  CHECK(machine.ids_of("disks") == Names{"d0", "d1"});
  REQUIRE(machine.log.size() == 1);
  CHECK(machine.log.front().find("is not settled") != std::string::npos);
}
