// libFuzzer entry point: whatever QEMU, or who stands in its place, may send to a Client with
// commands and waits under way. Each of them has to be ended, once, whatever came.
// The first byte chooses the size of the chunks.

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "qmp/client.hpp"
#include "qmp/error.hpp"
#include "qmp/unix_socket.hpp"

namespace {

constexpr std::string_view kGreeting =
    R"({"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""},)"
    R"( "capabilities": ["oob"]}} {"return": {}, "id": "x-1"})";

qmp::asio::awaitable<void> converse(qmp::Client& client, int& ended) {
  try {
    auto handshake = client.handshake(qmp::kNoDeadline);
    co_await std::move(handshake);
    auto call = client.execute("query-status");
    co_await std::move(call);
  } catch (const qmp::Error&) {
  }
  ++ended;
}

qmp::asio::awaitable<void> listen(qmp::Client& client, int& ended) {
  try {
    auto event = client.wait_event(qmp::event_named("STOP"), qmp::kNoDeadline);
    co_await std::move(event);
  } catch (const qmp::Error&) {
  }
  ++ended;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t chunk = std::size_t{data[0] & 0x7FU} + 1;
  const bool greets = (data[0] & 0x80U) == 0;
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);

  static qmp::asio::io_context context{1};  // one for all: it is most of what an input costs
  auto [ours, theirs] = qmp::socket_pair();
  qmp::ClientOptions options;
  options.id_prefix = "x";
  options.limits = {.max_message_bytes = 4096, .max_nesting = 64};
  qmp::Client client(context.get_executor(), ours.release(), std::move(options));
  int callbacks = 0;
  int ended = 0;
  qmp::asio::co_spawn(context, converse(client, ended), qmp::asio::detached);
  qmp::asio::co_spawn(context, listen(client, ended), qmp::asio::detached);
  for (int i = 0; i < 2; ++i) {
    client.execute_raw(qmp::Json{{"execute", "stop"}}, {},
                       [&callbacks](const qmp::RawReply&) { ++callbacks; });
  }
  const auto send = [&](std::string_view bytes) {
    // A peer that has been hung up on gets EPIPE; its buffer is never full here.
    static_cast<void>(
        ::send(theirs.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
    context.restart();
    context.poll();
  };
  if (greets) send(kGreeting);
  while (!rest.empty() && client.is_open()) {
    const auto part = rest.substr(0, std::min(chunk, rest.size()));
    rest.remove_prefix(part.size());
    send(part);
  }
  theirs.reset();
  context.restart();
  while (client.is_open()) context.run_one();
  context.restart();
  context.poll();
  if (callbacks != 2 || ended != 2) std::abort();
  return 0;
}
