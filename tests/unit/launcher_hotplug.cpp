// Plugging and unplugging against a QEMU that answers as scripted: what a real one does too rarely
// or too slowly to be waited for.
#include "launcher/hotplug/hotplug.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "launcher/config/load_config.hpp"
#include "launcher/hotplug/sequence.hpp"
#include "launcher/refusal.hpp"
#include "tests/support/mock_qmp_server.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/unit/qmp_test_loop.hpp"

using namespace vmrig;
using namespace vmrig::testing;
using qmp::testing::MockQmpServer;
using qmp::testing::MockReply;

namespace {

MockReply error_reply(const std::string& desc, const std::string& error_class = "GenericError") {
  MockReply reply;
  reply.error_class = error_class;
  reply.desc = desc;
  return reply;
}

Json event(const std::string& name, Json data) {
  return {{"event", name},
          {"data", std::move(data)},
          {"timestamp", {{"seconds", 1}, {"microseconds", 0}}}};
}

MockReply then(std::vector<Json> events) {
  MockReply reply;
  reply.events_after = std::move(events);
  return reply;
}

MockReply value(Json json) {
  MockReply reply;
  reply.value = std::move(json);
  return reply;
}

struct Answer {
  Json value;
  std::optional<ExitStatus> refused;
  std::string text;
  bool is_there = false;
};

// A VM on q35 with one disk, "d0", and one free port.
struct Machine {
  explicit Machine(bool has_disk = true) : state(make_state(has_disk)) {
    for (const char* command : {"device_add", "device_del", "blockdev-add", "blockdev-del",
                                "netdev_add", "netdev_del", "object-add", "object-del"}) {
      qemu.set_reply(command, {});
    }
    qemu.set_reply("qom-list",
                   value(Json::array({{{"name", "vmrig-port0"}, {"type", "child<x>"}}})));
    qmp::testing::run(loop, [this]() -> boost::asio::awaitable<void> {
      (void)co_await monitor.handshake(qmp::testing::soon());
    });
    events = monitor.subscribe([this](const qmp::Event& e) { hotplug.on_event(e); });
  }

  VmState make_state(bool has_disk) {
    write_text(folder / "d0.img", "x");
    Json config = {{"name", "vm"}, {"memory", {{"size", "64MiB"}}}};
    if (has_disk) config["disks"] = {{{"id", "d0"}, {"path", folder / "d0.img"}}};
    VmState made;
    made.name = "vm";
    made.claim.vm = "vm";
    made.qemu.pid = ::getpid();
    made.config = to_json(config_from_json(config));
    return made;
  }

  // Starts it; `answer` is filled in when it is done.
  std::shared_ptr<Answer> begin(boost::asio::awaitable<Json> operation) {
    auto answer = std::make_shared<Answer>();
    boost::asio::co_spawn(loop, std::move(operation),
                          [answer](const std::exception_ptr& fault, Json json) {
                            answer->is_there = true;
                            answer->value = std::move(json);
                            if (!fault) return;
                            const Error error = error_of(refusal_of(fault));
                            answer->refused = error.status();
                            answer->text = error.what();
                          });
    return answer;
  }
  void run_until(const std::function<bool()>& done) {
    const qmp::Deadline limit = qmp::testing::soon();
    while (!done()) {
      loop.restart();
      (void)loop.run_one_for(std::chrono::milliseconds(5));
      REQUIRE_MESSAGE(std::chrono::steady_clock::now() < limit, "the test hangs");
    }
  }
  Answer finish(boost::asio::awaitable<Json> operation) {
    const std::shared_ptr<Answer> answer = begin(std::move(operation));
    run_until([&] { return answer->is_there; });
    return *answer;
  }
  int asked(const std::string& command) const {
    const std::vector<Json> requests = qemu.requests();
    return static_cast<int>(std::count_if(
        requests.begin(), requests.end(),
        [&](const Json& request) { return request.value("execute", std::string()) == command; }));
  }
  // Names of the commands after the handshake, with what they name.
  std::vector<std::string> commands() const {
    std::vector<std::string> list;
    for (const Json& request : qemu.requests()) {
      const std::string name = request.value("execute", std::string());
      if (name == "qmp_capabilities" || name == "qom-list") continue;
      const Json arguments = request.value("arguments", Json::object());
      list.push_back(name + " " +
                     arguments.value("node-name", arguments.value("id", std::string())));
    }
    return list;
  }
  bool has_disk(const std::string& id) const {
    const Json& disks = state.config.at("disks");
    return std::any_of(disks.begin(), disks.end(),
                       [&](const Json& disk) { return disk.at("id") == Json(id); });
  }
  Json disk(const std::string& id) {
    write_text(folder / (id + ".img"), "x");
    return {{"kind", "disk"}, {"device", {{"id", id}, {"path", folder / (id + ".img")}}}};
  }

  TempFolder folder;
  MockQmpServer qemu;
  boost::asio::io_context loop;
  qmp::Client monitor{loop.get_executor(), qemu.connect()};
  VmState state;
  StateRoot root = StateRoot::open(folder / "state");
  VmState claimed = state;
  VmFolder vm = root.claim(root.lock(), claimed);
  std::vector<std::string> log;
  bool is_disk_full = false;
  HostSide host{loop.get_executor(), [this](const std::string& line) { log.push_back(line); },
                [] {}};
  Hotplug hotplug{{.executor = loop.get_executor(),
                   .monitor = [this]() -> qmp::Client& { return monitor; },
                   .state = state,
                   .save = [] {},
                   .save_or_throw =
                       [this] {
                         if (!is_disk_full) return;
                         throw Error({.operation = "write",
                                      .object = "state.json",
                                      .cause = "No space left on device",
                                      .mend = {}});
                       },
                   .folder = [this]() -> VmFolder& { return vm; },
                   .host = host,
                   .log = [this](const std::string& line) { log.push_back(line); }}};
  qmp::Subscription events;
};

const Json kDeleted =
    event("DEVICE_DELETED", {{"device", "d0"}, {"path", "/machine/peripheral/d0"}});

}  // namespace

TEST_CASE("a device is plugged backends first, into a free port") {
  Machine machine;
  const Answer answer = machine.finish(machine.hotplug.attach(machine.disk("d1")));
  CHECK_MESSAGE(!answer.refused, answer.text);
  CHECK(answer.value == Json{{"id", "d1"}});
  CHECK(machine.commands() == std::vector<std::string>{"blockdev-add d1-format", "device_add d1"});
  CHECK(machine.qemu.requests().back().at("arguments").at("bus") == Json("vmrig-port0"));
  CHECK(machine.has_disk("d1"));
  CHECK(machine.state.claim.written_disks.size() == 2);
}

TEST_CASE("an attach that can't be written down is not begun") {
  Machine machine;
  machine.is_disk_full = true;
  const Answer answer = machine.finish(machine.hotplug.attach(machine.disk("d1")));
  CHECK(answer.refused);
  CHECK_MESSAGE(answer.text.find("No space left") != std::string::npos, answer.text);
  CHECK(machine.commands().empty());
  CHECK_FALSE(machine.has_disk("d1"));
  CHECK(machine.state.claim.written_disks.size() == 1);
  machine.is_disk_full = false;
  CHECK_FALSE(machine.finish(machine.hotplug.attach(machine.disk("d1"))).refused);
}

TEST_CASE("files that QEMU took for an attach that fails are taken back") {
  Machine machine;
  machine.state.user = QemuUser();
  machine.state.user->is_confined = true;
  machine.qemu.set_reply("add-fd", value({{"fd", 20}, {"fdset-id", 10'000}}));
  machine.qemu.set_reply("remove-fd", {});
  const auto times = [&machine](const std::string& command) {
    const std::vector<std::string> commands = machine.commands();
    return std::count(commands.begin(), commands.end(), command);
  };
  machine.is_disk_full = true;
  CHECK(machine.finish(machine.hotplug.attach(machine.disk("d1"))).refused);
  CHECK(times("add-fd ") == 1);
  CHECK(times("remove-fd ") == 1);
  CHECK_FALSE(machine.has_disk("d1"));
  machine.is_disk_full = false;
  machine.qemu.set_reply("device_add", error_reply("no such luck"));
  CHECK(machine.finish(machine.hotplug.attach(machine.disk("d1"))).refused == ExitStatus::kQemu);
  machine.qemu.set_reply("add-fd", error_reply("too many"));
  const Answer answer = machine.finish(machine.hotplug.attach(machine.disk("d1")));
  CHECK(answer.text == "attach \"d1\": QEMU: too many");
  CHECK(times("add-fd ") == 3);
  CHECK(times("remove-fd ") == 2);
  CHECK_FALSE(machine.has_disk("d1"));
}

TEST_CASE("when a step of an attach fails, those before it are undone in reverse") {
  Machine machine;
  machine.qemu.set_reply("device_add", error_reply("no such luck"));
  const Answer answer = machine.finish(machine.hotplug.attach(machine.disk("d1")));
  CHECK(answer.refused == ExitStatus::kQemu);
  CHECK(answer.text == "attach \"d1\": QEMU: no such luck");
  CHECK(machine.commands() == std::vector<std::string>{"blockdev-add d1-format", "device_add d1",
                                                       "blockdev-del d1-format"});
  CHECK_FALSE(machine.has_disk("d1"));
  CHECK(machine.state.claim.written_disks == std::vector<std::string>{machine.folder / "d0.img"});
}

TEST_CASE("an undo that fails hides neither the first fault nor the undos after it") {
  Machine machine;
  machine.qemu.set_reply("device_add", error_reply("first"));
  machine.qemu.set_reply("blockdev-del", error_reply("second"));
  Json disk = machine.disk("d1");
  disk["device"]["throttle"] = {{"iops", 100}};
  const Answer answer = machine.finish(machine.hotplug.attach(disk));
  CHECK(answer.text.find("first") != std::string::npos);
  CHECK(machine.asked("blockdev-del") == 1);
  CHECK(machine.asked("object-del") == 1);
}

TEST_CASE("a port that QEMU shows as taken is not used") {
  Machine machine;
  machine.qemu.set_reply("qom-list",
                         value(Json::array({{{"name", "vmrig-port0"}, {"type", "child<x>"}},
                                            {{"name", "child[0]"}, {"type", "link<y>"}}})));
  const Answer answer = machine.finish(machine.hotplug.attach(machine.disk("d1")));
  CHECK(answer.refused == ExitStatus::kFailed);
  CHECK(answer.text.find("all 1 of the VM are taken") != std::string::npos);
  CHECK(machine.asked("blockdev-add") == 0);
  CHECK_FALSE(machine.has_disk("d1"));
}

TEST_CASE("a removal is done when QEMU names the device, not one of its parts") {
  Machine machine;
  machine.qemu.set_reply(
      "device_del",
      then({event("DEVICE_DELETED", {{"path", "/machine/peripheral/d0/virtio-backend"}}),
            kDeleted}));
  const Answer answer = machine.finish(machine.hotplug.detach({{"id", "d0"}}));
  CHECK_MESSAGE(!answer.refused, answer.text);
  CHECK(machine.commands() == std::vector<std::string>{"device_del d0", "blockdev-del d0-format",
                                                       "blockdev-del d0-file"});
  CHECK_FALSE(machine.has_disk("d0"));
  CHECK(machine.state.claim.written_disks.empty());
}

TEST_CASE("what came by one command goes by one") {
  Machine machine;
  CHECK_FALSE(machine.finish(machine.hotplug.attach(machine.disk("d1"))).refused);
  machine.qemu.set_reply("device_del", then({event("DEVICE_DELETED", {{"device", "d1"}})}));
  const Answer answer = machine.finish(machine.hotplug.detach({{"id", "d1"}}));
  CHECK_MESSAGE(!answer.refused, answer.text);
  CHECK(machine.commands() == std::vector<std::string>{"blockdev-add d1-format", "device_add d1",
                                                       "device_del d1", "blockdev-del d1-format"});
  CHECK_FALSE(machine.has_disk("d1"));
  CHECK(machine.has_disk("d0"));
}

TEST_CASE("a removal that the guest leaves alone is pending at the deadline, and finished later") {
  Machine machine;
  machine.qemu.set_reply(
      "device_del",
      then({event("DEVICE_DELETED", {{"path", "/machine/peripheral/d0/virtio-backend"}})}));
  const Answer late = machine.finish(machine.hotplug.detach({{"id", "d0"}, {"timeout", 0.05}}));
  CHECK(late.refused == ExitStatus::kTimeUp);
  CHECK(machine.state.pending_unplugs == std::vector<std::string>{"d0"});
  CHECK(machine.has_disk("d0"));
  CHECK(machine.asked("blockdev-del") == 0);

  machine.qemu.emit("DEVICE_DELETED", kDeleted.at("data"));
  machine.run_until([&] { return !machine.has_disk("d0"); });
  CHECK(machine.asked("blockdev-del") == 2);
  CHECK(machine.state.pending_unplugs.empty());
}

TEST_CASE("a removal that is pending already is waited for, not refused") {
  Machine machine;
  machine.qemu.set_reply("device_del",
                         error_reply("Device d0 is already in the process of unplug"));
  const std::shared_ptr<Answer> answer = machine.begin(machine.hotplug.detach({{"id", "d0"}}));
  machine.run_until([&] { return machine.asked("device_del") == 1; });
  machine.qemu.emit("DEVICE_DELETED", kDeleted.at("data"));
  machine.run_until([&] { return answer->is_there; });
  CHECK_MESSAGE(!answer->refused, answer->text);
}

TEST_CASE("a busy guest is asked again") {
  Machine machine;
  machine.qemu.set_reply(
      "device_del", error_reply("Hot-unplug failed: guest is busy (power indicator blinking)"));
  const std::shared_ptr<Answer> answer = machine.begin(machine.hotplug.detach({{"id", "d0"}}));
  machine.run_until([&] { return machine.asked("device_del") >= 2; });
  CHECK_FALSE(answer->is_there);
  machine.qemu.set_reply("device_del", then({kDeleted}));
  machine.run_until([&] { return answer->is_there; });
  CHECK_MESSAGE(!answer->refused, answer->text);
}

TEST_CASE("a guest that stays busy until the deadline has nothing pending") {
  Machine machine;
  machine.qemu.set_reply("device_del", error_reply("guest is busy"));
  const Answer answer = machine.finish(machine.hotplug.detach({{"id", "d0"}, {"timeout", 0.1}}));
  CHECK(answer.refused == ExitStatus::kFailed);
  CHECK(machine.state.pending_unplugs.empty());
  CHECK(machine.has_disk("d0"));
}

TEST_CASE("a guest that refuses ends the removal at once") {
  Machine machine;
  machine.qemu.set_reply("device_del",
                         then({event("DEVICE_UNPLUG_GUEST_ERROR", {{"device", "d0"}})}));
  const Answer refused = machine.finish(machine.hotplug.detach({{"id", "d0"}}));
  CHECK(refused.refused == ExitStatus::kFailed);
  CHECK(refused.text.find("the guest refuses") != std::string::npos);
  CHECK(machine.state.pending_unplugs.empty());
  // It may be tried again.
  machine.qemu.set_reply("device_del", then({kDeleted}));
  CHECK_FALSE(machine.finish(machine.hotplug.detach({{"id", "d0"}})).refused);
}

TEST_CASE("memory that the guest can't give up is told with its words") {
  Machine machine;
  machine.qemu.set_reply(
      "device_del", then({event("MEM_UNPLUG_ERROR", {{"device", "d0"}, {"msg", "it is in use"}})}));
  const Answer refused = machine.finish(machine.hotplug.detach({{"id", "d0"}}));
  CHECK(refused.text.find("the guest refuses: it is in use") != std::string::npos);
}

TEST_CASE("a guest that restarts or resumes is asked again") {
  for (const char* name : {"RESET", "RESUME"}) {
    CAPTURE(name);
    Machine machine;
    const std::shared_ptr<Answer> answer = machine.begin(machine.hotplug.detach({{"id", "d0"}}));
    machine.run_until([&] { return machine.state.pending_unplugs.size() == 1; });
    machine.qemu.set_reply("device_del", then({kDeleted}));
    machine.qemu.emit(name);
    machine.run_until([&] { return answer->is_there; });
    CHECK_FALSE(answer->refused);
    CHECK(machine.asked("device_del") == 2);
  }
}

TEST_CASE("a device that went before it was asked for counts as removed") {
  Machine machine;
  machine.qemu.set_reply("device_del", error_reply("Device 'd0' not found", "DeviceNotFound"));
  const Answer answer = machine.finish(machine.hotplug.detach({{"id", "d0"}}));
  CHECK_MESSAGE(!answer.refused, answer.text);
  CHECK(machine.asked("blockdev-del") == 2);
  CHECK_FALSE(machine.has_disk("d0"));
}

TEST_CASE("a backend that is held a moment longer than its device is removed all the same") {
  Machine machine;
  machine.qemu.set_reply("device_del", then({kDeleted}));
  machine.qemu.set_reply("blockdev-del", error_reply("Node d0-format is in use"));
  const std::shared_ptr<Answer> answer = machine.begin(machine.hotplug.detach({{"id", "d0"}}));
  machine.run_until([&] { return machine.asked("blockdev-del") >= 3; });
  CHECK_FALSE(answer->is_there);
  machine.qemu.set_reply("blockdev-del", {});
  machine.run_until([&] { return answer->is_there; });
  CHECK_FALSE(answer->refused);
}

TEST_CASE("two that remove one device are both told when it is gone") {
  Machine machine;
  const std::shared_ptr<Answer> one = machine.begin(machine.hotplug.detach({{"id", "d0"}}));
  const std::shared_ptr<Answer> two = machine.begin(machine.hotplug.detach({{"id", "d0"}}));
  machine.run_until([&] { return machine.asked("device_del") == 2; });
  machine.qemu.emit("DEVICE_DELETED", kDeleted.at("data"));
  machine.run_until([&] { return one->is_there && two->is_there; });
  CHECK_FALSE(one->refused);
  CHECK_FALSE(two->refused);
}

TEST_CASE("QEMU's end ends every operation") {
  Machine machine;
  const std::shared_ptr<Answer> answer = machine.begin(machine.hotplug.attach(machine.disk("d1")));
  machine.qemu.drop_client();
  machine.run_until([&] { return answer->is_there; });
  CHECK(answer->refused.has_value());
}

TEST_CASE("a balloon is set when the guest has got there, and told of where it has not") {
  Machine machine;
  machine.state.config["balloon"] = true;
  const auto actual = [](Bytes size) { return Json{{"actual", size.value}}; };
  machine.qemu.set_reply("query-balloon", value(actual(Bytes::mib(256))));
  const Json set = {{"balloon", "64MiB"}, {"timeout", 0.3}};

  machine.qemu.set_reply("balloon", {});
  const Answer deaf = machine.finish(machine.hotplug.set(set));
  CHECK(deaf.refused == ExitStatus::kTimeUp);
  CHECK(deaf.text.find("256MiB of memory on the way to 64MiB; it goes on") != std::string::npos);

  machine.qemu.set_reply("balloon", then({event("BALLOON_CHANGE", actual(Bytes::mib(100))),
                                          event("BALLOON_CHANGE", actual(Bytes::mib(64)))}));
  const Answer done = machine.finish(machine.hotplug.set({{"balloon", "64MiB"}}));
  CHECK_MESSAGE(!done.refused, done.text);
  CHECK(done.value == Json{{"balloon", "64MiB"}});
}

TEST_CASE("a balloon that is not there, too small or too large is refused before QEMU is asked") {
  Machine machine;
  const auto refusal = [&machine](const char* size) {
    const Answer answer = machine.finish(machine.hotplug.set({{"balloon", size}}));
    CHECK(answer.refused == ExitStatus::kUsage);
    return answer.text;
  };
  CHECK(refusal("64MiB").find("the VM has none") != std::string::npos);
  Machine other;
  other.state.config["balloon"] = true;
  other.state.config["memory"]["size"] = "512MiB";
  for (const char* size : {"513MiB", "63MiB"}) {
    const Answer answer = other.finish(other.hotplug.set({{"balloon", size}}));
    CHECK(answer.refused == ExitStatus::kUsage);
    CHECK(answer.text.find("is not between 64MiB and the 512MiB") != std::string::npos);
  }
  CHECK(other.asked("balloon") == 0);
}

TEST_CASE("what a guest tells of its memory is passed on, and what it does not is left out") {
  Machine machine;
  machine.state.config["balloon"] = true;
  machine.qemu.set_reply("query-balloon", value({{"actual", 100}}));
  machine.qemu.set_reply("qom-get", value({{"last-update", 0}, {"stats", Json::object()}}));
  const Answer silent = machine.finish(machine.hotplug.balloon());
  CHECK(silent.value == Json{{"actual", 100}, {"stats", Json::object()}});
  machine.qemu.set_reply("qom-get", value({{"last-update", 5},
                                           {"stats",
                                            {{"stat-free-memory", 30},
                                             {"stat-disk-caches", ~std::uint64_t{0}},
                                             {"stat-swap-in", -1}}}}));
  const Answer told = machine.finish(machine.hotplug.balloon());
  CHECK(told.value.at("stats") == Json{{"free-memory", 30}});
  CHECK(told.value.at("age_s") > 1000);
}

TEST_CASE("requests that make no sense are refused by name") {
  Machine machine;
  const auto refusal = [&](boost::asio::awaitable<Json> operation) {
    const Answer answer = machine.finish(std::move(operation));
    CHECK(answer.refused == ExitStatus::kUsage);
    return answer.text;
  };
  Hotplug& hotplug = machine.hotplug;
  CHECK(refusal(hotplug.attach({{"kind", "disk"}})).find("device") != std::string::npos);
  CHECK(refusal(hotplug.attach({{"kind", 3}, {"device", Json::object()}})).find("kind") !=
        std::string::npos);
  CHECK(refusal(hotplug.attach({{"kind", "disk"}, {"device", Json::object()}, {"x", 1}}))
            .find("\"x\"") != std::string::npos);
  CHECK(refusal(hotplug.attach({{"kind", "disk"}, {"device", Json::object()}})).find("disk.id") !=
        std::string::npos);
  CHECK(refusal(hotplug.detach({{"id", "d9"}})).find("d9") != std::string::npos);
  CHECK(refusal(hotplug.detach(Json::object())).find("id") != std::string::npos);
  CHECK(refusal(hotplug.set({{"vcpus", -1}})).find("vcpus") != std::string::npos);
  CHECK(refusal(hotplug.set({{"balloon", "1"}})).find("balloon") != std::string::npos);
  CHECK(refusal(hotplug.set(Json::object())).find("nothing to set") != std::string::npos);
  CHECK(refusal(hotplug.set({{"link", {{"n0", "up"}}}})).find("n0") != std::string::npos);
  CHECK(machine.asked("blockdev-add") == 0);
  CHECK(machine.asked("device_add") == 0);
}
