// The side of qmp.py that is measured: as `raw_qmp round`, through libqmp-json.
//
//   lib_qmp async PATH COUNT        Client, in a coroutine
//   lib_qmp sync PATH COUNT         SyncClient
#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <exception>
#include <string_view>
#include <utility>
#include <vector>

#include "qmp/client.hpp"
#include "qmp/sync_client.hpp"
#include "qmp/unix_socket.hpp"

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kWarmUp = 100;
constexpr std::chrono::seconds kTimeout{10};

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

std::vector<double> sync_trips(const char* path, int count) {
  qmp::SyncClient client = qmp::SyncClient::connect(path, qmp::deadline_in(kTimeout));
  client.handshake(qmp::deadline_in(kTimeout));
  std::vector<double> times;
  for (int i = -kWarmUp; i < count; ++i) {
    const auto start = Clock::now();
    const qmp::Json reply = client.execute("query-status");
    if (i >= 0 && reply.contains("status")) times.push_back(microseconds_since(start));
  }
  return times;
}

qmp::asio::awaitable<void> trips(qmp::Client& client, int count, std::vector<double>& times) {
  auto handshake = client.handshake(qmp::deadline_in(kTimeout));
  co_await std::move(handshake);
  for (int i = -kWarmUp; i < count; ++i) {
    const auto start = Clock::now();
    auto call = client.execute("query-status");
    const qmp::Json reply = co_await std::move(call);
    if (i >= 0 && reply.contains("status")) times.push_back(microseconds_since(start));
  }
  client.close();
}

std::vector<double> async_trips(const char* path, int count) {
  qmp::asio::io_context context{1};
  qmp::Fd socket = qmp::connect_unix(path, qmp::deadline_in(kTimeout));
  qmp::Client client(context.get_executor(), socket.release());
  std::vector<double> times;
  std::exception_ptr fault;
  qmp::asio::co_spawn(context, trips(client, count, times),
                      [&fault](std::exception_ptr thrown) { fault = std::move(thrown); });
  context.run();
  if (fault) std::rethrow_exception(fault);
  return times;
}

int measure(std::string_view mode, const char* path, int count) {
  std::vector<double> times = mode == "sync" ? sync_trips(path, count) : async_trips(path, count);
  if (times.size() != static_cast<std::size_t>(count)) {
    static_cast<void>(std::fputs("lib_qmp: replies without a status\n", stderr));
    return 1;
  }
  double total = 0;
  for (const double each : times) total += each;
  std::sort(times.begin(), times.end());
  std::printf("%d %.1f %.1f %.1f\n", count, total, times[times.size() / 2],
              times[times.size() * 99 / 100]);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc == 4 ? argv[1] : "";
  int count = 0;
  if (mode == "async" || mode == "sync") {
    const std::string_view text = argv[3];
    std::from_chars(text.data(), text.data() + text.size(), count);
  }
  if (count < 1) {
    static_cast<void>(std::fputs("usage: lib_qmp async|sync PATH COUNT\n", stderr));
    return 2;
  }
  try {
    return measure(mode, argv[2], count);
  } catch (const std::exception& error) {
    static_cast<void>(std::fprintf(stderr, "lib_qmp: %s\n", error.what()));
    return 1;
  }
}
