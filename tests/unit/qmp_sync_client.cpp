#include "qmp/sync_client.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "qmp/unix_socket.hpp"
#include "tests/support/mock_qmp_server.hpp"
#include "tests/unit/qmp_test_loop.hpp"

namespace {

using qmp::Json;
using qmp::testing::MockQmpServer;
using qmp::testing::MockReply;
using qmp::testing::MockScript;
using qmp::testing::soon;

/// A folder of its own, removed with the object.
struct Folder {
  Folder() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  ~Folder() {
    ::unlink((path + "/s").c_str());
    ::rmdir(path.c_str());
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string path = "/tmp/qmp-sync-XXXXXX";
};

std::string message_of(const std::string& path) {
  try {
    qmp::connect_unix(path, qmp::testing::at_once());
  } catch (const qmp::Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a sync client runs commands and keeps events that come between them") {
  MockScript script;
  MockReply reply;
  reply.value = 1;
  reply.events_before = {Json{{"event", "STOP"}}, Json{{"event", "RESUME"}}};
  script.replies["stop"] = reply;
  MockQmpServer server(script);
  qmp::SyncClient client = qmp::SyncClient::connect(server.path(), soon());
  CHECK(client.handshake(soon()).minor == 2);
  CHECK(client.execute("stop") == 1);
  CHECK(client.wait_event(qmp::event_named("RESUME"), soon()).name == "RESUME");
  CHECK(client.wait_event(qmp::event_named("STOP"), soon()).name == "STOP");
  server.emit("LATER");
  CHECK(client.wait_event(qmp::event_named("LATER"), soon()).seconds == 1700000000);
  // Handed out once, not again from what was kept.
  CHECK_THROWS_AS(client.wait_event(qmp::event_named("LATER"), qmp::testing::at_once()),
                  qmp::Error);
  const std::vector<qmp::Request> batch{{"stop", Json::object()}, {"none", Json::object()}};
  const auto outcomes = client.execute_all(batch, soon());
  REQUIRE(outcomes.size() == 2);
  CHECK(outcomes[0].ok());
  CHECK(outcomes[1].error->error_class() == "CommandNotFound");
  CHECK_THROWS_AS(client.execute("nothing"), qmp::Error);
  qmp::SyncClient moved = std::move(client);
  CHECK(moved.execute("stop") == 1);
  CHECK(moved.is_open());
}

TEST_CASE("a guest agent's connection is synchronised past what a dead client left") {
  MockScript script;
  script.greeting = qmp::testing::MockGreeting::none;
  script.preamble = "{\"return\": {\"old\": [\xff{\"return\": {\"old\": 1}}\n";
  script.replies["guest-ping"].raw = "{\"return\": {}}\n";  // old agents give no id back
  script.replies["guest-info"].value = Json{{"version", "8"}};
  MockQmpServer server(script);
  qmp::SyncClient agent = qmp::SyncClient::connect_guest_agent(server.path(), soon());
  CHECK(agent.execute("guest-ping") == Json::object());
  CHECK(agent.execute("guest-info") == Json{{"version", "8"}});
}

TEST_CASE("a guest agent that does not answer is a timeout") {
  MockScript script;
  script.greeting = qmp::testing::MockGreeting::none;
  script.replies["guest-sync-delimited"].silent = true;
  MockQmpServer server(script);
  try {
    qmp::SyncClient::connect_guest_agent(server.path(), qmp::testing::at_once());
    FAIL("no error");
  } catch (const qmp::Error& error) {
    CHECK(error.kind() == qmp::ErrorKind::timeout);
  }
}

TEST_CASE("connecting says what is wrong with a socket") {
  const Folder folder;
  CHECK(message_of(folder.path + "/none").find("No such file") != std::string::npos);
  const std::string longest = folder.path + "/" + std::string(107 - folder.path.size() - 1, 'x');
  CHECK(message_of(longest).find("No such file") != std::string::npos);
  const std::string longer = longest + "x";
  CHECK(message_of(longer).find("has 108 bytes; an AF_UNIX address holds at most 107") !=
        std::string::npos);
  CHECK(message_of("").find("empty") != std::string::npos);
  ::close(::open((folder.path + "/s").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  CHECK(message_of(folder.path + "/s").find("Connection refused") != std::string::npos);
  CHECK_THROWS_AS(qmp::listen_unix(folder.path + "/s"), qmp::Error);  // never over a plain file
}

TEST_CASE("a connect to a full backlog waits up to its deadline") {
  const Folder folder;
  const qmp::Fd listener = qmp::listen_unix(folder.path + "/s", 0);
  const qmp::Fd first = qmp::connect_unix(folder.path + "/s", soon());
  try {
    qmp::connect_unix(folder.path + "/s", qmp::testing::at_once());
    FAIL("no error");
  } catch (const qmp::Error& error) {
    CHECK(error.kind() == qmp::ErrorKind::timeout);
  }
}

TEST_CASE("a listening socket is private, close-on-exec, and takes an old one's place") {
  const Folder folder;
  const std::string path = folder.path + "/s";
  const mode_t before = ::umask(0);
  const qmp::Fd old = qmp::listen_unix(path);
  const qmp::Fd fresh = qmp::listen_unix(path);
  ::umask(before);
  struct stat status {};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0600);
  CHECK((::fcntl(fresh.get(), F_GETFD) & FD_CLOEXEC) != 0);
  const qmp::Fd client = qmp::connect_unix(path, soon());
  CHECK((::fcntl(client.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(qmp::peer_uid(client.get()) == ::geteuid());
  const qmp::Fd accepted(::accept4(fresh.get(), nullptr, nullptr, SOCK_CLOEXEC));
  CHECK(accepted);
}

TEST_CASE("a sync client reconnects to an end that takes a client after another") {
  MockScript script;
  script.replies["stop"].value = 1;
  MockQmpServer server(script);
  qmp::SyncClient client = qmp::SyncClient::connect(server.path(), soon());
  client.handshake(soon());
  server.emit("KEPT");
  CHECK(client.execute("stop") == 1);
  server.drop_client();
  CHECK_THROWS_AS(client.execute("stop"), qmp::Error);
  CHECK_FALSE(client.is_open());
  client.reconnect(soon());
  CHECK(client.is_open());
  CHECK(client.execute("stop") == 1);
  CHECK(client.wait_event(qmp::event_named("KEPT"), soon()).name == "KEPT");
  server.emit("NEW");
  CHECK(client.wait_event(qmp::event_named("NEW"), soon()).name == "NEW");
  client.reconnect(soon());  // from an open connection, too
  CHECK(client.execute("stop") == 1);

  qmp::SyncClient nameless(server.connect());
  CHECK_THROWS_AS(nameless.reconnect(soon()), qmp::Error);
}
