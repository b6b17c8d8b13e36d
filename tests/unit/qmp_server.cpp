#include "qmp/server.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "qmp/fd.hpp"
#include "qmp/framing.hpp"
#include "qmp/sync_client.hpp"
#include "qmp/unix_socket.hpp"
#include "tests/support/mock_qmp_server.hpp"
#include "tests/unit/qmp_test_loop.hpp"

namespace {

namespace asio = boost::asio;
using qmp::Json;
using qmp::testing::MockQmpServer;
using qmp::testing::MockReply;
using qmp::testing::MockScript;
using qmp::testing::run;
using qmp::testing::soon;

MockScript upstream_script() {
  MockScript script;
  script.replies["query-status"].value = Json{{"status", "running"}};
  script.replies["query-commands"].value = Json::array({Json{{"name", "query-status"}}});
  script.replies["getfd"].value = Json::object();
  script.replies["stuck"].silent = true;
  return script;
}

asio::awaitable<Json> echo(Json arguments) { co_return arguments; }
asio::awaitable<Json> refuse(Json arguments) {
  if (arguments.empty()) throw std::runtime_error("a plain exception");
  throw qmp::Error::refusal("not that one", "DeviceNotFound");
  co_return Json();
}

/// A mock of QEMU, and the server on a loop in a thread of its own. Members of the server are
/// used through in_loop() only.
class Rig {
 public:
  explicit Rig(MockScript script = upstream_script(), qmp::ServerOptions options = {},
               qmp::OobUse oob = qmp::OobUse::off)
      : mock(std::move(script)) {
    std::string folder = "/tmp/qmp-server-XXXXXX";
    REQUIRE(::mkdtemp(folder.data()) != nullptr);
    folder_ = folder;
    path = folder + "/qmp.sock";
    qmp::ClientOptions how;
    how.oob = oob;
    client = std::make_unique<qmp::Client>(loop.get_executor(), mock.connect(), how);
    run(loop, [&]() -> asio::awaitable<void> { co_await client->handshake(soon()); });
    options.log = [this](const std::string& message) { log += message + "\n"; };
    server = std::make_unique<qmp::Server>(loop.get_executor(), qmp::listen_unix(path).release(),
                                           *client, options);
    server->add_command("vmrig-echo", echo);
    server->add_command("vmrig-refuse", refuse);
    loop.restart();
    work_.emplace(loop.get_executor());
    thread_ = std::thread([this] { loop.run(); });
  }
  ~Rig() {
    in_loop([this] {
      server.reset();
      client.reset();
      work_.reset();
    });
    thread_.join();
    ::unlink(path.c_str());
    ::rmdir(folder_.c_str());
  }
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;

  template <typename Function>
  void in_loop(Function&& function) {
    std::promise<void> done;
    asio::post(loop, [&] {
      function();
      done.set_value();
    });
    done.get_future().wait();
  }

  asio::io_context loop;
  MockQmpServer mock;
  std::string path;
  std::string log;
  std::unique_ptr<qmp::Client> client;
  std::unique_ptr<qmp::Server> server;

 private:
  std::string folder_;
  // Keeps the loop running while a test has neither server nor client.
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_;
  std::thread thread_;
};

/// A client that sends and shows plain text.
class RawClient {
 public:
  explicit RawClient(const std::string& path) : fd_(qmp::connect_unix(path, soon())) {}

  void send(std::string_view text, int fd = -1) {
    while (!text.empty()) {
      iovec part{const_cast<char*>(text.data()), text.size()};
      msghdr header{};
      header.msg_iov = &part;
      header.msg_iovlen = 1;
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
      if (fd >= 0) {
        header.msg_control = control;
        header.msg_controllen = sizeof control;
        cmsghdr* item = CMSG_FIRSTHDR(&header);
        item->cmsg_level = SOL_SOCKET;
        item->cmsg_type = SCM_RIGHTS;
        item->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(item), &fd, sizeof fd);
      }
      const ssize_t n = ::sendmsg(fd_.get(), &header, MSG_NOSIGNAL);
      if (n < 0 && errno == EAGAIN) {
        wait(POLLOUT);
        continue;
      }
      if (n < 0) return;
      fd = -1;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  /// The next message; null at the connection's end.
  Json receive() {
    while (true) {
      if (const auto message = framer_.next()) return Json::parse(*message);
      wait(POLLIN);
      const auto room = framer_.prepare(65536);
      const ssize_t n = ::recv(fd_.get(), room.data(), room.size(), 0);
      if (n < 0 && errno == EAGAIN) continue;
      if (n <= 0) return {};
      framer_.commit(static_cast<std::size_t>(n));
    }
  }
  Json ask(std::string_view text) {
    send(text);
    return receive();
  }
  void negotiate() {
    REQUIRE(receive().contains("QMP"));
    REQUIRE(ask("{\"execute\": \"qmp_capabilities\"}") == Json{{"return", Json::object()}});
  }

 private:
  void wait(short events) const {
    pollfd one{fd_.get(), events, 0};
    if (::poll(&one, 1, 10'000) <= 0) throw std::runtime_error("the server says nothing");
  }
  qmp::Fd fd_;
  qmp::Framer framer_;
};

std::string error_class(const Json& reply) {
  return reply.at("error").at("class").get<std::string>();
}
std::string desc(const Json& reply) { return reply.at("error").at("desc").get<std::string>(); }

}  // namespace

TEST_CASE("the server greets as QEMU does and wants capabilities negotiated first") {
  Rig rig;
  RawClient client(rig.path);
  const Json greeting = client.receive();
  CHECK(greeting.at("QMP").at("version").at("package") == "Mock 1:7.2");
  CHECK(greeting.at("QMP").at("capabilities") == Json::array());
  const Json early = client.ask("{\"execute\": \"query-status\", \"id\": 4}");
  CHECK(error_class(early) == "CommandNotFound");
  CHECK(early.at("id") == 4);
  CHECK(error_class(
            client.ask(R"({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})")) ==
        "GenericError");
  CHECK(client.ask("{\"execute\": \"qmp_capabilities\"}").contains("return"));
  CHECK(error_class(client.ask("{\"execute\": \"qmp_capabilities\"}")) == "CommandNotFound");
}

TEST_CASE("ids come back as they were sent, whatever JSON they are") {
  Rig rig;
  RawClient client(rig.path);
  client.negotiate();
  for (const char* id : {"1", "-7", "1.5", "\"text\"", "null", "true", "{\"a\": [1, {}]}", "[]",
                         "18446744073709551615", "\"\\u00e4\\n\""}) {
    CAPTURE(id);
    const Json reply =
        client.ask("{\"execute\": \"query-status\", \"id\": " + std::string(id) + "}");
    CHECK(reply == Json{{"return", {{"status", "running"}}}, {"id", Json::parse(id)}});
  }
  CHECK_FALSE(client.ask("{\"execute\": \"query-status\"}").contains("id"));
  const Json refused = client.ask("{\"execute\": \"nothing\", \"id\": 9}");
  CHECK(error_class(refused) == "CommandNotFound");
  CHECK(refused.at("id") == 9);
}

TEST_CASE("many clients get each their own replies and all events") {
  Rig rig;
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<RawClient>(rig.path));
    clients.back()->negotiate();
  }
  RawClient silent(rig.path);  // connected, never negotiates, never reads
  for (int round = 0; round < 10; ++round) {
    for (auto& client : clients) {
      client->send("{\"execute\": \"query-status\", \"id\": " + std::to_string(round) + "}");
    }
    for (auto& client : clients) CHECK(client->receive().at("id") == round);
  }
  rig.mock.emit("RESUME", Json{{"x", 1}});
  for (auto& client : clients) {
    const Json event = client->receive();
    CHECK(event.at("event") == "RESUME");
    CHECK(event.at("data") == Json{{"x", 1}});
    CHECK(event.at("timestamp").at("seconds") == 1700000000);
  }
  CHECK(silent.receive().contains("QMP"));
  CHECK(error_class(silent.ask("{\"execute\": \"x\"}")) == "CommandNotFound");  // no event before
}

TEST_CASE("own commands are served, refused and listed beside QEMU's") {
  Rig rig;
  RawClient client(rig.path);
  client.negotiate();
  CHECK(client.ask(R"({"execute": "vmrig-echo", "arguments": {"a": 1}, "id": "e"})") ==
        Json{{"return", {{"a", 1}}}, {"id", "e"}});
  const Json refused = client.ask(R"({"execute": "vmrig-refuse", "arguments": {"a": 1}})");
  CHECK(error_class(refused) == "DeviceNotFound");
  CHECK(desc(refused) == "not that one");
  const Json thrown = client.ask("{\"execute\": \"vmrig-refuse\"}");
  CHECK(error_class(thrown) == "GenericError");
  CHECK(desc(thrown) == "a plain exception");
  const Json expected = Json::array({Json{{"name", "query-status"}}, Json{{"name", "vmrig-echo"}},
                                     Json{{"name", "vmrig-refuse"}}});
  CHECK(client.ask("{\"execute\": \"query-commands\"}").at("return") == expected);
  Json none;
  rig.in_loop([&] {
    qmp::Event event;
    event.name = "VMRIG_ATTACHED";
    rig.server->broadcast(event);
  });
  const Json event = client.receive();
  CHECK(event.at("event") == "VMRIG_ATTACHED");
  CHECK(event.at("timestamp").at("seconds") > 1'700'000'000);
}

TEST_CASE("replies keep the order of a client's commands, though own commands take longer") {
  Rig rig;
  rig.in_loop([&] {
    rig.server->add_command("vmrig-slow", [&](Json) -> asio::awaitable<Json> {
      // Done only when the later command has been answered by QEMU.
      qmp::EventWaiter waiter(*rig.client, qmp::event_named("GO"));
      const qmp::Event event = co_await waiter.next(soon());
      co_return Json(event.name);
    });
  });
  RawClient client(rig.path);
  client.negotiate();
  client.send(R"({"execute": "vmrig-slow"}{"execute": "query-status"})");
  REQUIRE(rig.mock.wait_for_request("query-status", soon()));
  rig.mock.emit("GO");
  CHECK(client.receive().at("event") == "GO");
  CHECK(client.receive().at("return") == "GO");
  CHECK(client.receive().at("return") == Json{{"status", "running"}});
}

TEST_CASE("out-of-band commands pass through and overtake") {
  MockScript script = upstream_script();
  script.greeting = qmp::testing::MockGreeting::with_oob;
  Rig rig(script, {}, qmp::OobUse::when_offered);
  RawClient client(rig.path);
  CHECK(client.receive().at("QMP").at("capabilities") == Json::array({"oob"}));
  CHECK(client.ask(R"({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})")
            .contains("return"));
  client.send("{\"execute\": \"stuck\", \"id\": 1}");
  CHECK(client.ask("{\"exec-oob\": \"query-status\", \"id\": 2}").at("id") == 2);
  RawClient plain(rig.path);
  plain.negotiate();
  CHECK(desc(plain.ask("{\"exec-oob\": \"query-status\"}")) ==
        "QMP input member 'exec-oob' is unexpected");
}

TEST_CASE("malformed requests get QEMU's error, and the client may go on") {
  Rig rig;
  RawClient client(rig.path);
  client.negotiate();
  CHECK(desc(client.ask("garbage\n")).starts_with("JSON parse error"));
  CHECK(desc(client.ask("{\"a\": nonsense}")).starts_with("JSON parse error"));
  CHECK(desc(client.ask("\n{\"a\": [1}\n")).starts_with("JSON parse error"));
  CHECK(desc(client.ask("{\"execute\": \"half\n")).starts_with("JSON parse error"));
  CHECK(client.ask("{\"execute\": \"query-status\"}").contains("return"));
  Rig other;
  RawClient fresh(other.path);
  fresh.negotiate();
  CHECK(desc(fresh.ask("[1]")) == "QMP input must be a JSON object");
  CHECK(desc(fresh.ask("{}")) == "QMP input lacks member 'execute'");
  CHECK(desc(fresh.ask("{\"execute\": 3}")) == "QMP input member 'execute' must be a string");
  CHECK(desc(fresh.ask("{\"execute\": \"x\", \"y\": 1}")) == "QMP input member 'y' is unexpected");
  CHECK(desc(fresh.ask("{\"execute\": \"x\", \"arguments\": 1}")) ==
        "QMP input member 'arguments' must be an object");
  CHECK(fresh.ask("{\"execute\": \"query-status\"}").contains("return"));
  CHECK(other.mock.requests().size() == 2);  // qmp_capabilities, query-status
}

TEST_CASE("a client past the limits of size or nesting is dropped") {
  qmp::ServerOptions options;
  options.limits.max_message_bytes = 4096;
  Rig rig(upstream_script(), options);
  for (const std::string& text :
       {"{\"execute\": \"" + std::string(8192, 'x'), std::string(600, '[')}) {
    RawClient client(rig.path);
    client.negotiate();
    CHECK(error_class(client.ask(text)) == "GenericError");
    CHECK(client.receive().is_null());
  }
  RawClient client(rig.path);
  client.negotiate();
  CHECK(client.ask("{\"execute\": \"query-status\"}").contains("return"));
}

TEST_CASE("a client that never reads is dropped at its bound, and others go on") {
  MockScript script = upstream_script();
  script.replies["query-large"].value = std::string(100'000, 'x');
  qmp::ServerOptions options;
  options.max_queued_bytes = 1'000'000;
  Rig rig(script, options);
  RawClient greedy(rig.path);
  greedy.negotiate();
  RawClient good(rig.path);
  good.negotiate();
  for (int i = 0; i < 30; ++i) greedy.send("{\"execute\": \"query-large\"}");
  while (true) {
    CHECK(good.ask("{\"execute\": \"query-status\"}").contains("return"));
    std::size_t clients = 0;
    rig.in_loop([&] { clients = rig.server->client_count(); });
    if (clients == 1) break;
  }
  rig.in_loop([&] { CHECK(rig.log.find("does not read") != std::string::npos); });
  int complete = 0;
  while (!greedy.receive().is_null()) ++complete;
  CHECK(complete < 30);
}

TEST_CASE("a client that reads no events is dropped at a bound of their own, and others go on") {
  qmp::ServerOptions options;
  options.max_queued_event_bytes = 100'000;
  Rig rig(upstream_script(), options);
  RawClient deaf(rig.path);
  deaf.negotiate();
  RawClient good(rig.path);
  good.negotiate();
  qmp::Event event;
  event.name = "RESET";
  event.data = Json{{"text", std::string(1000, 'x')}};
  int sent = 0;
  std::size_t clients = 2;
  while (clients == 2) {
    REQUIRE(++sent < 2000);  // 2 MB: what the kernel holds for it, and the bound
    rig.in_loop([&] {
      rig.server->broadcast(event);
      clients = rig.server->client_count();
    });
    CHECK(good.receive().at("event") == "RESET");
  }
  rig.in_loop([&] { CHECK(rig.log.find("does not read its events") != std::string::npos); });
  CHECK(good.ask("{\"execute\": \"query-status\"}").contains("return"));
}

TEST_CASE("a client that pipelines more than its share is read no further until answered") {
  qmp::ServerOptions options;
  options.max_pending_commands = 4;
  Rig rig(upstream_script(), options);
  RawClient client(rig.path);
  client.negotiate();
  std::string text;
  for (int i = 0; i < 200; ++i) {
    text += "{\"execute\": \"query-status\", \"id\": " + std::to_string(i) + "}\n";
  }
  client.send(text);
  for (int i = 0; i < 200; ++i) REQUIRE(client.receive().at("id") == i);
}

TEST_CASE("fds that come with getfd are passed on, others are closed") {
  Rig rig;
  RawClient client(rig.path);
  client.negotiate();
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  struct stat status {};
  REQUIRE(::fstat(ends[0], &status) == 0);
  client.send("{\"execute\": \"query-status\"}", ends[1]);
  CHECK(client.receive().contains("return"));
  ::close(ends[1]);
  // All copies of the writing end are closed now: the reading end sees the end of the file.
  pollfd one{ends[0], POLLIN, 0};
  CHECK(::poll(&one, 1, 10'000) == 1);
  CHECK((one.revents & POLLHUP) != 0);
  client.send(R"({"execute": "getfd", "arguments": {"fdname": "f"}, "id": 1})", ends[0]);
  CHECK(client.receive() == Json{{"return", Json::object()}, {"id", 1}});
  ::close(ends[0]);
  REQUIRE(rig.mock.received_files().size() == 1);
  CHECK(rig.mock.received_files()[0].first == status.st_dev);
  CHECK(rig.mock.received_files()[0].second == status.st_ino);
  // Without one, QEMU could take the fd of whoever comes next.
  client.send(R"({"execute": "add-fd", "id": 2})");
  CHECK(desc(client.receive()) == "No file descriptor supplied via SCM_RIGHTS");
  for (const Json& request : rig.mock.requests()) CHECK(request.value("execute", "") != "add-fd");
}

TEST_CASE("when QEMU is gone, pending commands fail, SHUTDOWN comes, and the connection ends") {
  Rig rig;
  RawClient client(rig.path);
  client.negotiate();
  RawClient fresh(rig.path);
  CHECK(fresh.receive().contains("QMP"));
  client.send("{\"execute\": \"stuck\", \"id\": 1}");
  REQUIRE(rig.mock.wait_for_request("stuck", soon()));
  rig.in_loop([&] {
    rig.server->upstream_gone(Json{{"guest", true}, {"reason", "guest-shutdown"}});
  });
  const Json event = client.receive();
  CHECK(event.at("event") == "SHUTDOWN");
  CHECK(event.at("data").at("guest") == true);
  const Json error = client.receive();
  CHECK(desc(error) == "QEMU is gone");
  CHECK(error.at("id") == 1);
  CHECK(client.receive().is_null());
  CHECK(fresh.receive().is_null());
  CHECK_THROWS_AS(qmp::connect_unix(rig.path, soon()), qmp::Error);
}

TEST_CASE("SHUTDOWN is sent once when QEMU sent its own, and own commands may still finish") {
  Rig rig;
  rig.in_loop([&] {
    rig.server->add_command("vmrig-stop", [&](Json) -> asio::awaitable<Json> {
      qmp::EventWaiter waiter(*rig.client, qmp::event_named("SHUTDOWN"));
      co_await waiter.next(soon());
      rig.server->upstream_gone();
      asio::steady_timer later(rig.loop, std::chrono::milliseconds(1));
      co_await later.async_wait(asio::use_awaitable);
      co_return Json("stopped");
    });
  });
  RawClient client(rig.path);
  client.negotiate();
  client.send("{\"execute\": \"vmrig-stop\"}{\"execute\": \"query-status\"}");
  REQUIRE(rig.mock.wait_for_request("query-status", soon()));
  rig.mock.emit("SHUTDOWN");
  CHECK(client.receive().at("event") == "SHUTDOWN");
  CHECK(client.receive().at("return") == "stopped");
  client.receive();  // query-status: its reply or "QEMU is gone"
  CHECK(client.receive().is_null());
}

TEST_CASE("the server goes on with another connection to QEMU") {
  Rig rig;
  RawClient client(rig.path);
  client.negotiate();
  MockScript script = upstream_script();
  script.replies["query-status"].value = Json{{"status", "paused"}};
  MockQmpServer second(script);
  std::unique_ptr<qmp::Client> next;
  std::promise<void> ready;
  const auto connect = [&]() -> asio::awaitable<void> {
    next = std::make_unique<qmp::Client>(rig.loop.get_executor(), second.connect());
    co_await next->handshake(soon());
    rig.client->close();
    rig.server->replace_upstream(*next);
    ready.set_value();
  };
  asio::co_spawn(rig.loop, connect(), [](std::exception_ptr) {});
  ready.get_future().wait();
  CHECK(client.ask("{\"execute\": \"query-status\"}").at("return").at("status") == "paused");
  second.emit("STOP");
  CHECK(client.receive().at("event") == "STOP");
  rig.in_loop([&] { next->close(); });
  CHECK(error_class(client.ask("{\"execute\": \"query-status\"}")) == "GenericError");
  rig.in_loop([&] {
    rig.server.reset();
    next.reset();
  });
}

TEST_CASE("drained() returns when the last client has left, or at its deadline") {
  Rig rig;
  auto client = std::make_unique<RawClient>(rig.path);
  client->negotiate();
  const auto wait = [&](qmp::Deadline deadline) {
    std::promise<std::size_t> left;
    const auto waiting = [&]() -> asio::awaitable<void> {
      co_await rig.server->drained(deadline);
      left.set_value(rig.server->client_count());
    };
    asio::co_spawn(rig.loop, waiting(), [](std::exception_ptr) {});
    return left.get_future().get();
  };
  CHECK(wait(qmp::testing::at_once()) == 1);
  client.reset();
  CHECK(wait(soon()) == 0);
}

TEST_CASE("who watches a command is told when QEMU has carried it out for a client") {
  MockScript script = upstream_script();
  script.replies["device_add"] = {};
  script.replies["device_del"].error_class = "DeviceNotFound";
  std::vector<std::string> told;  // of the loop's thread, read in it
  qmp::ServerOptions options;
  options.watched_commands = {"device_add", "device_del"};
  options.on_watched = [&told](const std::string& command) { told.push_back(command); };
  Rig rig(std::move(script), options);
  qmp::SyncClient client = qmp::SyncClient::connect(rig.path, soon());
  client.handshake(soon());
  client.execute("query-status");
  CHECK_THROWS_AS(client.execute("device_del", Json{{"id", "x"}}), qmp::Error);
  client.execute("device_add", Json{{"driver", "x"}});
  rig.in_loop([&] { CHECK(told == std::vector<std::string>{"device_add"}); });
}

TEST_CASE("a sync client speaks to the server as to QEMU") {
  Rig rig;
  qmp::SyncClient client = qmp::SyncClient::connect(rig.path, soon());
  CHECK(client.handshake(soon()).major == 7);
  CHECK(client.execute("query-status") == Json{{"status", "running"}});
}
