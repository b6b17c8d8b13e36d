// The supervisor's socket under many clients at once.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <deque>
#include <latch>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "qmp/framing.hpp"
#include "qmp/unix_socket.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

constexpr int kClients = 16;
constexpr int kCommands = 1000;  // of each client
constexpr std::size_t kWindow = 20;
constexpr int kToggles = 20;
constexpr std::chrono::seconds kPatience{120};

// A client that chooses its ids itself, and looks at replies as text.
class RawClient {
 public:
  explicit RawClient(const std::string& path,
                     std::string_view opening = R"({"execute": "qmp_capabilities"})")
      : deadline_(qmp::deadline_in(kPatience)), socket_(qmp::connect_unix(path, deadline_)) {
    greeting_ = next();
    send(opening);
    next();
  }

  const std::string& greeting() const { return greeting_; }

  // Throws std::runtime_error when the time is up or the connection has ended.
  void send(std::string_view text) {
    while (!text.empty()) {
      wait(POLLOUT);
      const ssize_t sent =
          ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno == EAGAIN) continue;
      if (sent < 0) throw std::runtime_error("send failed");
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  // The next message that is no event; events are counted.
  std::string next() {
    for (;;) {
      while (const auto message = framer_.next()) {
        if (qmp::open_envelope(*message).event.empty()) return std::string(*message);
        ++events_;
      }
      read();
    }
  }

  void await_events(int count) {
    while (events_ < count) {
      while (const auto message = framer_.next()) {
        if (qmp::open_envelope(*message).event.empty()) throw std::runtime_error("a stray reply");
        ++events_;
      }
      if (events_ < count) read();
    }
  }

  // True once the other end has closed; nothing is read.
  bool is_hung_up() const {
    pollfd poll{.fd = socket_.get(), .events = POLLRDHUP, .revents = 0};
    return ::poll(&poll, 1, 0) == 1 && (poll.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
  }

 private:
  void wait(short what) const {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline_ - qmp::Deadline::clock::now());
    pollfd poll{.fd = socket_.get(), .events = what, .revents = 0};
    if (left.count() <= 0 || ::poll(&poll, 1, static_cast<int>(left.count())) <= 0) {
      throw std::runtime_error("time is up");
    }
  }
  void read() {
    constexpr std::size_t kRoom = 65536;
    wait(POLLIN);
    const auto room = framer_.prepare(kRoom);
    const ssize_t got = ::recv(socket_.get(), room.data(), room.size(), MSG_DONTWAIT);
    if (got <= 0) throw std::runtime_error("the connection has ended");
    framer_.commit(static_cast<std::size_t>(got));
  }

  qmp::Deadline deadline_;
  qmp::Fd socket_;
  qmp::Framer framer_;
  std::string greeting_;
  int events_ = 0;
};

// Ids of every kind of JSON value, all different, among them some that no parser gives back as
// they were.
std::string id_of(int client, int number) {
  switch (number % 8) {
    case 0:
      return fmt::format(R"({{"z": {}, "a": [{}]}})", client, number);
    case 1:
      return fmt::format(R"("{}-{}")", client, number);
    case 2:
      return fmt::format("{}{:04}", client + 1, number);
    case 3:
      return fmt::format("[{}, {}, null, true, []]", client, number);
    case 4:
      return fmt::format("{}{:04}.000000000000000000000000010", client + 1, number);
    case 5:
      return fmt::format("99999999999999999999999999{}{:04}", client + 1, number);
    case 6:
      return fmt::format(R"("\u00e9\"\\{}\/{}")", client, number);
    default:
      return number % 16 == 7 ? "null" : "false";
  }
}

struct Asked {
  std::string id;
  std::string expected;  // stands in the reply
};

Asked ask(RawClient& client, int owner, int number) {
  const std::string id = id_of(owner, number);
  const std::string node = fmt::format("c{}n{}", owner, number / 4);
  std::string command;
  std::string expected;
  switch (number % 4) {
    case 0:
      command = fmt::format(
          R"("execute": "blockdev-add", "arguments": {{"driver": "null-co", "node-name": "{}"}})",
          node);
      expected = R"({"return": {}, )";
      break;
    case 1:
      // The error repeats the name: nobody else's reply can pass for it.
      command = fmt::format(R"("execute": "absent-{}-{}")", owner, number);
      expected = fmt::format("absent-{}-{} ", owner, number);
      break;
    case 2:
      command = R"("execute": "query-status")";
      expected = R"("status": )";
      break;
    default:
      command =
          fmt::format(R"("execute": "blockdev-del", "arguments": {{"node-name": "{}"}})", node);
      expected = R"({"return": {}, )";
      break;
  }
  client.send(fmt::format("{{{}, \"id\": {}}}\n", command, id));
  return {.id = id, .expected = expected};
}

// What was wrong; empty for nothing.
std::string talk(const std::string& path, int owner, std::latch& all_connected) {
  bool has_arrived = false;
  try {
    RawClient client(path);
    all_connected.arrive_and_wait();
    has_arrived = true;
    std::deque<Asked> asked;
    int sent = 0;
    for (int answered = 0; answered < kCommands; ++answered) {
      for (; sent < kCommands && asked.size() < kWindow; ++sent) {
        asked.push_back(ask(client, owner, sent));
      }
      const std::string reply = client.next();
      const Asked& first = asked.front();
      const std::string_view id = qmp::open_envelope(reply).id;
      if (id != first.id || reply.find(first.expected) == std::string::npos) {
        return fmt::format("client {}, command {}: wanted {} of {}, got {}", owner, answered,
                           first.expected, first.id, reply);
      }
      asked.pop_front();
    }
    client.await_events(2 * kToggles);
    return {};
  } catch (const std::exception& error) {
    if (!has_arrived) all_connected.count_down();
    return fmt::format("client {}: {}", owner, error.what());
  }
}

TEST_CASE("16 clients at once get their own replies, beside hotplug and one that never reads") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  REQUIRE(guard.vmrig({"start", "--paused", guard.write_config(guard.config("many"))}).status == 0);
  const std::string path = guard.state_dir() + "/many/qmp.sock";

  RawClient silent(path);
  // Their replies are 150 kB each: more than is kept for a client that does not read.
  for (int i = 0; i < 100; ++i) silent.send("{\"execute\": \"query-qmp-schema\"}\n");

  std::vector<std::string> faults(kClients);
  std::latch all_connected(kClients + 1);
  std::vector<std::jthread> threads;
  for (int owner = 0; owner < kClients; ++owner) {
    threads.emplace_back([&faults, &path, &all_connected, owner] {
      faults[static_cast<std::size_t>(owner)] = talk(path, owner, all_connected);
    });
  }
  RawClient toggling(path);
  all_connected.arrive_and_wait();
  for (int i = 0; i < kToggles; ++i) {
    toggling.send("{\"execute\": \"cont\"}{\"execute\": \"stop\"}\n");
    CHECK(toggling.next() == "{\"return\": {}}");
    CHECK(toggling.next() == "{\"return\": {}}");
    // A USB device needs no guest to let it go.
    toggling.send(R"({"execute": "vmrig-attach",)"
                  R"( "arguments": {"kind": "usb", "device": {"id": "t1", "type": "tablet"}}})");
    CHECK(toggling.next().find(R"({"return": {"id")") == 0);
    toggling.send(R"({"execute": "vmrig-detach", "arguments": {"id": "t1"}})");
    CHECK(toggling.next().find(R"({"return": {"id")") == 0);
  }
  threads.clear();  // joins them
  for (const std::string& fault : faults) CHECK(fault == "");

  CHECK(eventually([&silent] { return silent.is_hung_up(); }, kPatience));
  CHECK(read_text(guard.state_dir() + "/many/vmrig.log").find("does not read") !=
        std::string::npos);
  CHECK(guard.vmrig_json({"qmp", "many", "query-named-block-nodes"}) == Json::array());
  CHECK(guard.vmrig({"stop", "many", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("exec-oob passes through to QEMU, for a client that has enabled it") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  REQUIRE(guard.vmrig({"start", "--paused", guard.write_config(guard.config("oob"))}).status == 0);
  const std::string path = guard.state_dir() + "/oob/qmp.sock";

  RawClient client(path, R"({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})");
  CHECK(Json::parse(client.greeting()).at("QMP").at("capabilities") == Json::array({"oob"}));
  client.send(R"({"execute": "query-status", "id": 1})"
              R"({"exec-oob": "migrate-pause", "id": "over"})"
              R"({"execute": "query-status", "id": 2})");
  std::map<std::string, Json> replies;
  for (int i = 0; i < 3; ++i) {
    const Json reply = Json::parse(client.next());
    replies[reply.at("id").dump()] = reply;
  }
  CHECK(replies["1"].at("return").at("status") == "prelaunch");
  CHECK(replies["2"].at("return").at("status") == "prelaunch");
  CHECK(replies["\"over\""].at("error").at("desc").get<std::string>().find("postcopy") !=
        std::string::npos);
  // Others are as before.
  RawClient plain(path);
  plain.send(R"({"exec-oob": "migrate-pause", "id": 3})");
  CHECK(plain.next().find("'exec-oob' is unexpected") != std::string::npos);

  CHECK(guard.vmrig({"stop", "oob", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

}  // namespace
