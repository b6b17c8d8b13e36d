#include "qmp/client.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "qmp/unix_socket.hpp"
#include "tests/support/mock_qmp_server.hpp"
#include "tests/unit/qmp_test_loop.hpp"

namespace {

using qmp::Client;
using qmp::ErrorKind;
using qmp::Json;
using qmp::testing::at_once;
using qmp::testing::MockCapabilities;
using qmp::testing::MockGreeting;
using qmp::testing::MockQmpServer;
using qmp::testing::MockReply;
using qmp::testing::MockScript;
using qmp::testing::run;
using qmp::testing::soon;
namespace asio = boost::asio;

/// The kind of Error that a coroutine ends with; nothing when it ends well.
template <typename Coroutine>
std::optional<qmp::Error> error_of(asio::io_context& loop, Coroutine&& body) {
  try {
    run(loop, body);
  } catch (const qmp::Error& error) {
    return error;
  }
  return std::nullopt;
}

std::optional<qmp::Error> handshake_error(MockScript script, qmp::Deadline deadline) {
  MockQmpServer server(std::move(script));
  asio::io_context loop;
  Client client(loop.get_executor(), server.connect());
  return error_of(loop, [&]() -> asio::awaitable<void> { co_await client.handshake(deadline); });
}

qmp::ClientOptions always_ids() {
  qmp::ClientOptions options;
  options.ids = qmp::IdUse::always;
  return options;
}

MockScript with_replies(std::map<std::string, MockReply> replies) {
  MockScript script;
  script.replies = std::move(replies);
  return script;
}

MockReply returning(Json value) {
  MockReply reply;
  reply.value = std::move(value);
  return reply;
}

MockReply silence() {
  MockReply reply;
  reply.silent = true;
  return reply;
}

std::vector<qmp::Request> requests_of(std::initializer_list<const char*> commands) {
  std::vector<qmp::Request> requests;
  for (const char* command : commands) requests.push_back({command, Json::object()});
  return requests;
}

/// A server and a client past its handshake.
struct Connection {
  explicit Connection(MockScript script, qmp::ClientOptions options = {})
      : server(std::move(script)),
        client(loop.get_executor(), server.connect(), std::move(options)) {
    run(loop, [&]() -> asio::awaitable<void> { co_await client.handshake(soon()); });
  }
  Json execute(const std::string& command) {
    Json value;
    run(loop, [&]() -> asio::awaitable<void> { value = co_await client.execute(command); });
    return value;
  }
  Json execute_oob(const std::string& command) {
    qmp::ExecuteOptions how;
    how.oob = true;
    how.deadline = soon();
    Json value;
    run(loop, [&]() -> asio::awaitable<void> {
      value = co_await client.execute(command, Json::object(), how);
    });
    return value;
  }
  asio::io_context loop;
  MockQmpServer server;
  Client client;
};

}  // namespace

TEST_CASE("the handshake reads the greeting and negotiates capabilities") {
  MockQmpServer server;
  asio::io_context loop;
  Client client(loop.get_executor(), server.connect());
  run(loop, [&]() -> asio::awaitable<void> {
    const qmp::Greeting greeting = co_await client.handshake(soon());
    CHECK(greeting.major == 7);
    CHECK(greeting.minor == 2);
    CHECK(greeting.package == "Mock 1:7.2");
    CHECK_FALSE(greeting.offers("oob"));
  });
  CHECK_FALSE(client.oob_enabled());
  REQUIRE(server.requests().size() == 1);
  CHECK(server.requests()[0].at("execute") == "qmp_capabilities");
  CHECK_FALSE(server.requests()[0].contains("arguments"));
}

TEST_CASE("a handshake at once does not wait for the greeting, but is nothing without it") {
  qmp::ClientOptions options;
  options.opening = qmp::Opening::at_once;
  {
    Connection both(with_replies({{"query-status", returning(1)}}), options);
    CHECK(both.client.greeting()->major == 7);
    CHECK(both.execute("query-status") == 1);
  }
  MockScript mute;
  mute.greeting = MockGreeting::none;
  mute.capabilities = MockCapabilities::silence;
  MockQmpServer server(mute);
  asio::io_context loop;
  Client client(loop.get_executor(), server.connect(), options);
  const auto error = error_of(loop, [&]() -> asio::awaitable<void> {
    co_await client.handshake(qmp::deadline_in(std::chrono::milliseconds(50)));
  });
  REQUIRE(error.has_value());
  CHECK(error->kind() == ErrorKind::timeout);
  CHECK(std::string(error->what()).starts_with("no QMP greeting: "));
  CHECK(server.wait_for_request("qmp_capabilities", soon()));
}

TEST_CASE("out-of-band execution is enabled only when offered and asked for") {
  MockScript script = with_replies({{"migrate-pause", returning(Json::object())}});
  script.greeting = MockGreeting::with_oob;
  qmp::ClientOptions options;
  options.oob = qmp::OobUse::when_offered;
  Connection both(script, options);
  CHECK(both.client.oob_enabled());
  CHECK(both.server.requests()[0].at("arguments").at("enable") == Json::array({"oob"}));
  run(both.loop, [&]() -> asio::awaitable<void> {
    qmp::ExecuteOptions how;
    how.oob = true;
    co_await both.client.execute("migrate-pause", Json::object(), how);
  });
  CHECK(both.server.requests()[1].at("exec-oob") == "migrate-pause");
  CHECK_FALSE(Connection(script).client.oob_enabled());
  CHECK_FALSE(Connection(MockScript{}, options).client.oob_enabled());
}

TEST_CASE("a peer that dies or misbehaves at each stage of the handshake is a clear error") {
  const auto kind = [](MockGreeting greeting, qmp::Deadline deadline) {
    MockScript script;
    script.greeting = greeting;
    const auto error = handshake_error(script, deadline);
    REQUIRE(error.has_value());
    CAPTURE(error->what());
    CHECK(std::string(error->what()).find("greeting") != std::string::npos);
    return error->kind();
  };
  CHECK(kind(MockGreeting::close_at_once, soon()) == ErrorKind::closed);
  CHECK(kind(MockGreeting::half_then_close, soon()) == ErrorKind::closed);
  CHECK(kind(MockGreeting::none, at_once()) == ErrorKind::timeout);
  CHECK(kind(MockGreeting::half, at_once()) == ErrorKind::timeout);
  CHECK(kind(MockGreeting::garbage, soon()) == ErrorKind::protocol);
  CHECK(kind(MockGreeting::wrong_shape, soon()) == ErrorKind::protocol);
}

TEST_CASE("a greeting's version is whole numbers that fit") {
  const auto greeting = [](const qmp::Json& minor) {
    return qmp::Greeting::from_json(
        {{"version", {{"qemu", {{"major", 7}, {"minor", minor}, {"micro", 0}}}, {"package", ""}}},
         {"capabilities", qmp::Json::array()}});
  };
  CHECK(greeting(2).minor == 2);
  for (const qmp::Json& bad : {qmp::Json(5.5e128), qmp::Json(2.5), qmp::Json(-1),
                               qmp::Json(std::uint64_t{1} << 63), qmp::Json("2")}) {
    CHECK_THROWS_AS(greeting(bad), qmp::Error);
  }
}

TEST_CASE("refused, ignored and cut-off capabilities are told apart") {
  MockScript script;
  script.capabilities = MockCapabilities::refuse;
  auto error = handshake_error(script, soon());
  REQUIRE(error.has_value());
  CHECK(error->kind() == ErrorKind::command);
  CHECK(error->desc() == "refused by the script");
  script.capabilities = MockCapabilities::silence;
  error = handshake_error(script, at_once());
  REQUIRE(error.has_value());
  CHECK(error->kind() == ErrorKind::timeout);
  script.capabilities = MockCapabilities::close;
  error = handshake_error(script, soon());
  REQUIRE(error.has_value());
  CHECK(error->kind() == ErrorKind::closed);
}

TEST_CASE("replies to a dead client before the greeting are discarded") {
  MockScript script = with_replies({{"query-name", returning(Json{{"name", "vm"}})}});
  script.preamble =
      "{\"return\": {\"wrong\": 1}, \"id\": \"v-00-1\"}\r\n"
      "{\"error\": {\"class\": \"GenericError\", \"desc\": \"x\"}, \"id\": 1}\r\n";
  Connection both(script);
  CHECK(both.execute("query-name") == Json{{"name", "vm"}});
}

TEST_CASE("a refused command carries QEMU's class and description") {
  Connection both{MockScript{}};
  const auto error = error_of(
      both.loop, [&]() -> asio::awaitable<void> { co_await both.client.execute("no-such-thing"); });
  REQUIRE(error.has_value());
  CHECK(error->kind() == ErrorKind::command);
  CHECK(error->error_class() == "CommandNotFound");
  CHECK(error->desc() == "The command no-such-thing has not been found");
  CHECK(std::string(error->what()).starts_with("no-such-thing: "));
}

TEST_CASE("every command of a connection has an id of its own, with the prefix asked for") {
  qmp::ClientOptions options;
  options.id_prefix = "mine";
  options.ids = qmp::IdUse::always;
  Connection both(with_replies({{"query-status", returning(1)}}), options);
  for (int i = 0; i < 3; ++i) both.execute("query-status");
  std::set<std::string> ids;
  for (const Json& request : both.server.requests()) {
    const auto id = request.at("id").get<std::string>();
    CHECK(id.starts_with("mine-"));
    ids.insert(id);
  }
  CHECK(ids.size() == 4);
  Connection other{MockScript{}};
  Connection third{MockScript{}};
  CHECK(other.server.requests()[0].at("id") != third.server.requests()[0].at("id"));
  options.id_prefix = "with \"quotes\"";
  CHECK_THROWS_AS(Client(both.loop.get_executor(), other.server.connect(), options),
                  std::invalid_argument);
}

TEST_CASE("replies may come in any order") {
  Connection both(with_replies({{"slow", silence()}, {"fast", returning("fast")}}), always_ids());
  std::vector<std::string> order;
  const auto call = [&](std::string command) -> asio::awaitable<void> {
    const Json value = co_await both.client.execute(command);
    order.push_back(command + "=" + value.get<std::string>());
  };
  run(both.loop, [&]() -> asio::awaitable<void> {
    asio::co_spawn(both.loop, call("slow"), asio::detached);
    co_await call("fast");
    const Json slow = both.server.requests().at(1);
    CHECK(slow.at("execute") == "slow");
    qmp::EventWaiter waiter(both.client, qmp::event_named("STOP"));
    both.server.send_raw(Json{{"return", "late"}, {"id", slow.at("id")}}.dump());
    both.server.emit("STOP");
    co_await waiter.next(soon());
  });
  CHECK(order == std::vector<std::string>{"fast=fast", "slow=late"});
}

TEST_CASE("a command past its deadline fails, and its late reply is discarded") {
  Connection both(with_replies({{"stuck", silence()}, {"query-status", returning("ok")}}),
                  always_ids());
  const auto error = error_of(both.loop, [&]() -> asio::awaitable<void> {
    qmp::ExecuteOptions options;
    options.deadline = at_once();
    co_await both.client.execute("stuck", Json::object(), options);
  });
  REQUIRE(error.has_value());
  CHECK(error->kind() == ErrorKind::timeout);
  CHECK(std::string(error->what()).starts_with("stuck: "));
  const Json late{{"return", "late"}, {"id", both.server.requests().at(1).at("id")}};
  both.server.send_raw(late.dump() + "\n");
  CHECK(both.execute("query-status") == "ok");
  CHECK(both.client.is_open());
}

TEST_CASE("a lone command goes without an id, and its late reply is not taken for another's") {
  Connection both(with_replies({{"stuck", silence()}, {"query-status", returning("ok")}}));
  CHECK(both.execute("query-status") == "ok");
  const auto error = error_of(both.loop, [&]() -> asio::awaitable<void> {
    qmp::ExecuteOptions options;
    options.deadline = at_once();
    co_await both.client.execute("stuck", Json::object(), options);
  });
  REQUIRE(error.has_value());
  CHECK(both.execute("query-status") == "ok");
  both.server.send_raw("{\"return\": \"late\"}\n");
  CHECK(both.execute("query-status") == "ok");
  CHECK(both.execute("query-status") == "ok");
  const auto requests = both.server.requests();
  REQUIRE(requests.size() == 6);
  CHECK(requests[0].contains("id"));        // the first: strangers' replies may still come
  CHECK_FALSE(requests[1].contains("id"));  // alone
  CHECK_FALSE(requests[2].contains("id"));  // alone, and never answered in time
  CHECK(requests[3].contains("id"));        // beside the one without
  CHECK_FALSE(requests[5].contains("id"));  // after its late reply
}

TEST_CASE("where answers come in order no command needs an id, and a late reply stays its own's") {
  qmp::ClientOptions options;
  options.ids = qmp::IdUse::when_unordered;
  Connection both(
      with_replies({{"stuck", silence()}, {"first", returning(1)}, {"next", returning(2)}}),
      options);
  CHECK(both.execute("first") == 1);
  const auto error = error_of(both.loop, [&]() -> asio::awaitable<void> {
    qmp::ExecuteOptions how;
    how.deadline = at_once();
    co_await both.client.execute("stuck", Json::object(), how);
  });
  REQUIRE(error.has_value());
  MockReply both_answers;  // what it has got first, and then the batch
  both_answers.raw = "{\"return\": \"late\"}\n{\"return\": 1}\n";
  both.server.set_reply("first", both_answers);
  const auto batch = requests_of({"first", "next", "unknown"});
  std::vector<qmp::Outcome> outcomes;
  run(both.loop, [&]() -> asio::awaitable<void> {
    outcomes = co_await both.client.execute_all(batch, soon());
  });
  REQUIRE(outcomes.size() == 3);
  CHECK(outcomes[0].value == 1);
  CHECK(outcomes[1].value == 2);
  CHECK_FALSE(outcomes[2].ok());
  const auto requests = both.server.requests();
  CHECK(requests.front().contains("id"));  // strangers' replies may still come
  for (std::size_t i = 1; i < requests.size(); ++i) CHECK_FALSE(requests[i].contains("id"));
}

TEST_CASE("with oob only what overtakes has an id, and its reply is not taken for another's") {
  MockScript script = with_replies(
      {{"query-status", returning(1)}, {"overtakes", returning(2)}, {"slow", silence()}});
  script.greeting = MockGreeting::with_oob;
  qmp::ClientOptions options;
  options.oob = qmp::OobUse::when_offered;
  options.ids = qmp::IdUse::when_unordered;
  Connection both(script, options);
  CHECK(both.execute("query-status") == 1);
  bool has_slow_ended = false;
  asio::co_spawn(
      both.loop, both.client.execute_all(requests_of({"slow", "slow"}), qmp::kNoDeadline),
      [&](const std::exception_ptr&, const std::vector<qmp::Outcome>&) { has_slow_ended = true; });
  CHECK(both.execute_oob("overtakes") == 2);
  CHECK_FALSE(has_slow_ended);
  const auto requests = both.server.requests();
  REQUIRE(requests.size() == 5);
  for (std::size_t i = 1; i < 4; ++i) CHECK_FALSE(requests[i].contains("id"));
  CHECK(requests[4].at("exec-oob") == "overtakes");
  CHECK(requests[4].contains("id"));
}

TEST_CASE("with oob no more than eight others are under way, so that what overtakes is read") {
  MockScript script = with_replies({{"overtakes", returning(2)}, {"slow", silence()}});
  script.greeting = MockGreeting::with_oob;
  qmp::ClientOptions options;
  options.oob = qmp::OobUse::when_offered;
  Connection both(script, options);
  const std::vector<qmp::Request> many(10, qmp::Request{"slow", Json::object(), {}});
  asio::co_spawn(both.loop, both.client.execute_all(many, qmp::kNoDeadline), asio::detached);
  CHECK(both.execute_oob("overtakes") == 2);
  const auto requests = both.server.requests();  // the first is the handshake's
  REQUIRE(requests.size() == 10);
  CHECK(requests[9].at("exec-oob") == "overtakes");
}

TEST_CASE("a command can be cancelled while it waits") {
  Connection both(with_replies({{"stuck", silence()}, {"query-status", returning("ok")}}));
  asio::cancellation_signal signal;
  std::optional<ErrorKind> kind;
  const auto stuck = [&]() -> asio::awaitable<void> {
    try {
      co_await both.client.execute("stuck");
    } catch (const qmp::Error& error) {
      kind = error.kind();
    }
  };
  bool done = false;
  asio::co_spawn(
      both.loop, stuck(),
      asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr) { done = true; }));
  run(both.loop, [&]() -> asio::awaitable<void> {
    co_await both.client.execute("query-status");
    signal.emit(asio::cancellation_type::terminal);
    co_await both.client.execute("query-status");
  });
  while (!done) both.loop.run_one();
  CHECK(kind == ErrorKind::cancelled);
}

TEST_CASE("a batch is pipelined and keeps the requests' order") {
  Connection both(with_replies({{"a", returning(1)}, {"c", returning(3)}}));
  std::vector<qmp::Outcome> outcomes;
  std::vector<qmp::Outcome> none;
  const auto requests = requests_of({"a", "b", "c"});
  const std::vector<qmp::Request> no_requests;
  run(both.loop, [&]() -> asio::awaitable<void> {
    outcomes = co_await both.client.execute_all(requests, soon());
    none = co_await both.client.execute_all(no_requests, soon());
  });
  REQUIRE(outcomes.size() == 3);
  CHECK(outcomes[0].value == 1);
  CHECK_FALSE(outcomes[1].ok());
  CHECK(outcomes[1].error->error_class() == "CommandNotFound");
  CHECK(outcomes[2].value == 3);
  CHECK(none.empty());
}

TEST_CASE("a batch goes out in one piece, but for what has fds of its own") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  const qmp::Fd peer(ends[1]);
  const auto sent = [&peer] {
    std::string packet(4096, '\0');
    const ssize_t got = ::recv(peer.get(), packet.data(), packet.size(), MSG_DONTWAIT);
    packet.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return packet;
  };
  const auto reply = [&peer](std::string_view text) {
    REQUIRE(::send(peer.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  };
  asio::io_context loop;
  Client client(loop.get_executor(), ends[0]);
  reply(R"({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""},)"
        R"( "capabilities": []}})");
  bool is_open = false;
  asio::co_spawn(
      loop, client.handshake(qmp::kNoDeadline),
      [&is_open](const std::exception_ptr& fault, const qmp::Greeting&) { is_open = !fault; });
  loop.poll();
  reply(Json{{"return", Json::object()}, {"id", Json::parse(sent()).at("id")}}.dump());
  loop.poll();
  REQUIRE(is_open);

  std::vector<qmp::Request> batch = requests_of({"one", "two", "three", "four"});
  batch[2].fds.push_back(peer.get());
  asio::co_spawn(loop, client.execute_all(batch, qmp::kNoDeadline), asio::detached);
  loop.poll();
  const std::string before = sent();
  CHECK(before.find("one") != std::string::npos);
  CHECK(before.find("two") != std::string::npos);
  CHECK(before.find("three") == std::string::npos);
  // QEMU must not have a byte to read while it takes the fds.
  const Json with_fd = Json::parse(sent());
  CHECK(with_fd.at("execute") == "three");
  CHECK(sent().empty());
  reply(Json{{"return", 1}, {"id", with_fd.at("id")}}.dump());
  loop.poll();
  CHECK(sent().find("four") != std::string::npos);
}

TEST_CASE("a batch whose connection ends throws closed") {
  MockReply ending;
  ending.close = true;
  Connection both(with_replies({{"a", returning(1)}, {"end", ending}}));
  const auto requests = requests_of({"a", "end"});
  const auto error = error_of(both.loop, [&]() -> asio::awaitable<void> {
    co_await both.client.execute_all(requests, soon());
  });
  REQUIRE(error.has_value());
  CHECK(error->kind() == ErrorKind::closed);
}

TEST_CASE("fds travel with their own command, even when many are sent at once") {
  Connection both(with_replies({{"getfd", returning(Json::object())}}));
  std::vector<std::pair<unsigned long, unsigned long>> expected;
  const Json getfd{{"execute", "getfd"}, {"arguments", {{"fdname", "f"}}}};
  run(both.loop, [&]() -> asio::awaitable<void> {
    for (int i = 0; i < 5; ++i) {
      int ends[2];
      REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
      struct stat status {};
      ::fstat(ends[0], &status);
      expected.emplace_back(status.st_dev, status.st_ino);
      both.client.execute_raw(Json{{"execute", "getfd"}, {"arguments", {{"fdname", "f"}}}},
                              {ends[0]}, [](const qmp::RawReply&) {});
      // Borrowed for the call only: what waits in the queue has been duplicated.
      ::close(ends[0]);
      ::close(ends[1]);
    }
    qmp::ExecuteOptions options;
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    struct stat status {};
    ::fstat(ends[1], &status);
    expected.emplace_back(status.st_dev, status.st_ino);
    options.fds.push_back(ends[1]);
    co_await both.client.execute("getfd", Json::object(), options);
    ::fstat(ends[0], &status);
    expected.insert(expected.end(), 2, {status.st_dev, status.st_ino});
    qmp::Request request{"getfd", Json::object(), std::vector<int>(1, ends[0])};
    std::vector<qmp::Request> batch(2, request);
    co_await both.client.execute_all(std::move(batch), soon());
    ::close(ends[0]);
    ::close(ends[1]);
  });
  CHECK(both.server.received_files() == expected);
}

TEST_CASE("an event waiter made before the command gets an event that precedes the reply") {
  MockReply reply;
  reply.events_before = {Json{{"event", "OTHER"}},
                         Json{{"event", "DEVICE_DELETED"}, {"data", {{"device", "nic0"}}}}};
  reply.events_after = {Json{{"event", "DEVICE_DELETED"}, {"data", {{"device", "nic1"}}}}};
  Connection both(with_replies({{"device_del", reply}}));
  run(both.loop, [&]() -> asio::awaitable<void> {
    qmp::EventWaiter waiter(both.client, qmp::event_named("DEVICE_DELETED"));
    co_await both.client.execute("device_del");
    CHECK(waiter.queued() >= 1);
    const qmp::Event first = co_await waiter.next(soon());
    CHECK(first.data.at("device") == "nic0");
    const qmp::Event second = co_await waiter.next(soon());
    CHECK(second.data.at("device") == "nic1");
    CHECK(second.seconds == 0);
  });
}

TEST_CASE("waiting for an event times out, and ends with the connection") {
  Connection both{MockScript{}};
  auto error = error_of(both.loop, [&]() -> asio::awaitable<void> {
    co_await both.client.wait_event(qmp::event_named("NEVER"), at_once());
  });
  REQUIRE(error.has_value());
  CHECK(error->kind() == ErrorKind::timeout);
  error = error_of(both.loop, [&]() -> asio::awaitable<void> {
    qmp::EventWaiter waiter(both.client, qmp::event_named("STOP"));
    both.server.emit("STOP");
    both.server.drop_client();
    const qmp::Event kept = co_await waiter.next(soon());
    CHECK(kept.name == "STOP");
    CHECK(kept.seconds == 1700000000);
    co_await waiter.next(soon());
  });
  REQUIRE(error.has_value());
  CHECK(error->kind() == ErrorKind::closed);
}

TEST_CASE("a subscription gets every event until it ends, also from within its handler") {
  Connection both{MockScript{}};
  int seen = 0;
  int once = 0;
  qmp::Subscription all = both.client.subscribe([&](const qmp::Event&) { ++seen; });
  qmp::Subscription single;
  single = both.client.subscribe([&](const qmp::Event&) {
    ++once;
    single.reset();
  });
  run(both.loop, [&]() -> asio::awaitable<void> {
    qmp::EventWaiter waiter(both.client, qmp::event_named("C"));
    both.server.emit("A");
    both.server.emit("B");
    both.server.emit("C");
    co_await waiter.next(soon());
    co_await asio::post(both.loop, asio::use_awaitable);
  });
  CHECK(seen == 3);
  CHECK(once == 1);
}

TEST_CASE("when the other side ends, pending commands fail and on_closed tells why, once") {
  MockReply dying;
  dying.raw = "{\"event\": \"SHUTDOWN\"}\n{\"return\": {\"ha";
  Connection both(with_replies({{"stuck", silence()}, {"quit", dying}}));
  std::vector<std::string> reasons;
  both.client.on_closed([&](const std::string& reason) { reasons.push_back(reason); });
  const Json quit{{"execute", "quit"}};
  const std::vector<int> no_fds;
  const auto error = error_of(both.loop, [&]() -> asio::awaitable<void> {
    qmp::EventWaiter waiter(both.client, qmp::event_named("SHUTDOWN"));
    both.client.execute_raw(quit, no_fds, [](const qmp::RawReply&) {});
    co_await waiter.next(soon());
    both.server.drop_client();
    co_await both.client.execute("stuck");
  });
  REQUIRE(error.has_value());
  CHECK(error->kind() == ErrorKind::closed);
  both.loop.restart();
  both.loop.run_for(std::chrono::milliseconds(1));
  REQUIRE(reasons.size() == 1);
  CHECK(reasons[0].find("middle of a message") != std::string::npos);
  CHECK_FALSE(both.client.is_open());
  const auto after = error_of(
      both.loop, [&]() -> asio::awaitable<void> { co_await both.client.execute("query-status"); });
  REQUIRE(after.has_value());
  CHECK(after->kind() == ErrorKind::closed);
}

TEST_CASE("a reply that is no JSON inside ends the connection as a protocol error") {
  Connection both(with_replies({{"query-x", silence()}, {"query-y", returning(1)}}), always_ids());
  std::optional<ErrorKind> kind;
  const auto asking = [&]() -> asio::awaitable<void> {
    try {
      co_await both.client.execute("query-x");
    } catch (const qmp::Error& error) {
      kind = error.kind();
    }
  };
  const auto after = error_of(both.loop, [&]() -> asio::awaitable<void> {
    asio::co_spawn(both.loop, asking(), asio::detached);
    co_await both.client.execute("query-y");
    const std::string id = both.server.requests().at(1).at("id").dump();
    both.server.send_raw("{\"return\": {\"a\": nonsense}, \"id\": " + id + "}\n");
    co_await both.client.wait_event(qmp::event_named("NEVER"), soon());
  });
  CHECK(kind == ErrorKind::protocol);
  REQUIRE(after.has_value());
  CHECK(after->kind() == ErrorKind::protocol);
}

TEST_CASE("a peer that does not read fills the queue, and then commands are refused") {
  auto [ours, theirs] = qmp::socket_pair();
  asio::io_context loop;
  qmp::ClientOptions options;
  options.max_queued_bytes = 1 << 20;
  Client client(loop.get_executor(), ours.release(), options);
  int refused = 0;
  for (int i = 0; i < 64; ++i) {
    client.execute_raw(Json{{"execute", std::string(65536, 'x')}}, {},
                       [&](const qmp::RawReply& reply) {
                         if (reply.kind == qmp::RawReply::Kind::failed &&
                             reply.failure->kind() == ErrorKind::too_large) {
                           ++refused;
                         }
                       });
  }
  CHECK(refused == 0);  // never from within the call
  loop.run_for(std::chrono::milliseconds(1));
  CHECK(refused > 0);
  CHECK(refused < 64);
}

TEST_CASE("arguments that are not UTF-8 are refused before anything is sent") {
  Connection both{MockScript{}};
  const Json arguments{{"path", "\xff\xfe"}};
  const auto error = error_of(
      both.loop, [&]() -> asio::awaitable<void> { co_await both.client.execute("x", arguments); });
  REQUIRE(error.has_value());
  CHECK(error->kind() == ErrorKind::command);
  CHECK(both.server.requests().size() == 1);
}

TEST_CASE("a client that is destroyed with commands under way ends them") {
  MockQmpServer server(with_replies({{"stuck", silence()}}));
  asio::io_context loop;
  auto client = std::make_unique<Client>(loop.get_executor(), server.connect());
  const auto error = error_of(loop, [&]() -> asio::awaitable<void> {
    co_await client->handshake(soon());
    asio::post(loop, [&] { client.reset(); });
    co_await client->execute("stuck");
  });
  REQUIRE(error.has_value());
  CHECK(error->kind() == ErrorKind::closed);
}
