#include "launcher/capture.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/pcap_file.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

using boost::system::error_code;

constexpr std::size_t kMaxCaptures = 16;
constexpr std::size_t kMaxPendingBytes = std::size_t{4} << 20;
constexpr std::size_t kReadBytes = 65536;
constexpr int kPipeBytes = 1 << 20;
constexpr std::int64_t kClockJumpNs = 1'000'000'000;
constexpr std::chrono::seconds kQemuTimeout{5};
constexpr std::string_view kFifoPrefix = "capture-";

Error refusal(ExitStatus status, std::string object, std::string cause) {
  return Error({.status = status,
                .operation = "capture the packets of NIC",
                .object = std::move(object),
                .cause = std::move(cause),
                .mend = {}});
}

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// QEMU stamps packets by the guest's clock, which stands while the VM does and began with it: the
// distance between two is right, the time is not. The smallest delay seen is the true distance to
// the wall clock; a jump means that the VM stood still.
class WallClock {
 public:
  std::int64_t time_of(std::int64_t qemu_ns, std::int64_t arrival_ns) {
    const std::int64_t distance = arrival_ns - qemu_ns;
    if (!distance_ || distance < *distance_ || distance > *distance_ + kClockJumpNs) {
      distance_ = distance;
    }
    return qemu_ns + *distance_;
  }

 private:
  std::optional<std::int64_t> distance_;
};

struct Wish {
  std::string nic;
  std::string fifo;
  std::uint32_t snaplen = kMaxSnaplen;
};

Wish read_wish(const Json& arguments) {
  Wish wish;
  for (const auto& [key, value] : arguments.items()) {
    if (key == "nic" && value.is_string()) {
      wish.nic = value.get<std::string>();
    } else if (key == "fifo" && value.is_string()) {
      wish.fifo = value.get<std::string>();
    } else if (key == "snaplen" && value.is_number_integer() && value.get<std::int64_t>() >= 1 &&
               value.get<std::int64_t>() <= kMaxSnaplen) {
      wish.snaplen = value.get<std::uint32_t>();
    } else {
      throw refusal(ExitStatus::kUsage, key,
                    "vmrig-capture takes \"nic\", \"fifo\" and \"snaplen\" (bytes)");
    }
  }
  if (wish.nic.empty() || !wish.fifo.starts_with(kFifoPrefix) ||
      wish.fifo.find('/') != std::string::npos) {
    throw refusal(ExitStatus::kUsage, wish.nic, "vmrig-capture needs \"nic\" and \"fifo\"");
  }
  return wish;
}

Fd open_fifo(const std::string& path) {
  Fd fifo(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
  if (!fifo) throw system_error("open", path, errno);
  struct stat status {};
  if (::fstat(fifo.get(), &status) < 0 || !S_ISFIFO(status.st_mode)) {
    throw refusal(ExitStatus::kUsage, path, "it is no FIFO");
  }
  if (status.st_uid != ::geteuid()) {
    throw refusal(ExitStatus::kUsage, path, "the FIFO is another user's");
  }
  return fifo;
}

struct Pipe {
  Fd in;
  Fd out;
};

// For QEMU to open by /proc/self/fd, whatever its user; its own end is then one that blocks.
Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) < 0) {
    throw system_error("make a pipe", {}, errno);
  }
  Pipe pipe{.in = Fd(ends[0]), .out = Fd(ends[1])};
  ::fchmod(pipe.out.get(), 0622);
  ::fcntl(pipe.out.get(), F_SETPIPE_SZ, kPipeBytes);  // a smaller one works, too
  return pipe;
}

asio::posix::stream_descriptor adopt(const asio::any_io_executor& executor, Fd fd) {
  asio::posix::stream_descriptor descriptor(executor, fd.get());
  (void)fd.release();  // the descriptor owns it
  return descriptor;
}

}  // namespace

struct Captures::Capture {
  Capture(const asio::any_io_executor& executor, Wish given, std::string name, Fd qemu_end,
          Fd client_end)
      : wish(std::move(given)),
        id(std::move(name)),
        in(adopt(executor, std::move(qemu_end))),
        out(adopt(executor, std::move(client_end))) {}

  Wish wish;
  std::string id;
  asio::posix::stream_descriptor in;   // from QEMU
  asio::posix::stream_descriptor out;  // to the client
  PcapStream stream;
  WallClock clock;
  std::string pending;  // not taken by the client yet
  std::uint64_t dropped = 0;
  bool is_waiting = false;  // until `out` takes more
  bool has_begun = false;   // QEMU has the filter
  bool is_ending = false;
  bool is_deleted = false;  // the filter, by us
  bool is_read = false;     // nothing more comes from QEMU
};

struct Captures::State : std::enable_shared_from_this<State> {
  using Pointer = std::shared_ptr<Capture>;

  explicit State(CaptureParts given) : parts(std::move(given)) {}

  asio::awaitable<Json> execute(std::string command, Json arguments, std::vector<int> fds) {
    qmp::ExecuteOptions options;
    options.deadline = qmp::deadline_in(kQemuTimeout);
    options.fds = std::move(fds);
    qmp::Json answer = co_await parts.monitor().execute(std::move(command), std::move(arguments),
                                                        std::move(options));
    co_return answer;
  }

  // QEMU opens `pipe` itself: filter-dump knows names only, no fd sets (QEMU 5.2 to 10).
  asio::awaitable<void> add_filter(Pointer capture, int pipe) {
    std::optional<std::string> fault;
    Json none = Json::object();
    std::vector<int> fds = {pipe};
    Json added;
    try {
      added = co_await execute("add-fd", std::move(none), std::move(fds));
      Json filter = {{"qom-type", "filter-dump"},
                     {"id", capture->id},
                     {"netdev", capture->wish.nic},
                     {"file", fmt::format("/proc/self/fd/{}", added.at("fd").get<int>())},
                     {"maxlen", capture->wish.snaplen}};
      (void)co_await execute("object-add", std::move(filter), {});
    } catch (const qmp::Error& error) {
      fault = error.desc();
    }
    if (!added.is_null()) {
      Json set = {{"fdset-id", added.at("fdset-id")}};
      try {
        (void)co_await execute("remove-fd", std::move(set), {});
      } catch (const qmp::Error& error) {
        parts.log(fmt::format("remove-fd: {}", error.what()));
      }
    }
    if (fault) throw refusal(ExitStatus::kQemu, capture->wish.nic, *fault);
  }

  void take(const Pointer& capture, std::string_view bytes) {
    capture->stream.feed(bytes);
    const std::int64_t arrival = now_ns();
    while (std::optional<CapturedPacket> packet = capture->stream.next()) {
      packet->time_ns = capture->clock.time_of(packet->time_ns, arrival);
      if (capture->pending.size() > kMaxPendingBytes) {
        ++capture->dropped;
      } else {
        append_pcap_record(capture->pending, *packet, capture->wish.snaplen);
      }
    }
  }

  bool try_take(const Pointer& capture, std::string_view bytes) {
    try {
      take(capture, bytes);
      return true;
    } catch (const Error& error) {
      parts.log(error.what());
      return false;
    }
  }

  void flush(const Pointer& capture) {
    while (capture->out.is_open() && !capture->pending.empty()) {
      const ssize_t written =
          ::write(capture->out.native_handle(), capture->pending.data(), capture->pending.size());
      if (written > 0) {
        capture->pending.erase(0, static_cast<std::size_t>(written));
        continue;
      }
      if (written < 0 && errno == EINTR) continue;
      if (written < 0 && errno == EAGAIN) {
        if (std::exchange(capture->is_waiting, true)) return;
        capture->out.async_wait(asio::posix::stream_descriptor::wait_write,
                                [self = shared_from_this(), capture](const error_code& fault) {
                                  capture->is_waiting = false;
                                  if (!fault) self->flush(capture);
                                });
        return;
      }
      capture->pending.clear();  // nobody reads any more
    }
    if (capture->is_read) close(*capture);
  }

  static void close(Capture& capture) {
    error_code ignored;
    capture.out.close(ignored);
  }

  // Until QEMU has closed its end: it must never wait for the pipe.
  asio::awaitable<void> pump(Pointer capture) {
    std::array<char, kReadBytes> buffer{};
    for (bool is_readable = true;;) {
      error_code fault;
      auto token = asio::redirect_error(asio::use_awaitable, fault);
      const std::size_t got =
          co_await capture->in.async_read_some(asio::buffer(buffer.data(), buffer.size()), token);
      if (fault) break;
      if (is_readable) is_readable = try_take(capture, std::string_view(buffer.data(), got));
      flush(capture);
      if (capture->is_deleted) break;
    }
    // QEMU keeps the fd that it was given while the VM is paused, so that no end may follow.
    for (ssize_t got = 1; got > 0 && capture->is_deleted;) {
      got = ::read(capture->in.native_handle(), buffer.data(), buffer.size());
      if (got > 0) (void)try_take(capture, {buffer.data(), static_cast<std::size_t>(got)});
    }
    error_code ignored;
    capture->in.close(ignored);
    capture->is_read = true;
    flush(capture);
    captures.erase(capture->id);
  }

  // The client has gone once its end of the FIFO is closed.
  void watch_client(const Pointer& capture) {
    capture->out.async_wait(asio::posix::stream_descriptor::wait_error,
                            [self = shared_from_this(), capture](const error_code& fault) {
                              if (fault) return;
                              capture->pending.clear();
                              asio::co_spawn(
                                  self->parts.executor,
                                  [self, capture] { return self->finish(capture); },
                                  asio::detached);
                            });
  }

  asio::awaitable<void> finish(Pointer capture) {
    if (!capture->has_begun || std::exchange(capture->is_ending, true)) co_return;
    Json which = {{"id", capture->id}};
    try {
      (void)co_await execute("object-del", std::move(which), {});
      parts.log(fmt::format("capture of {} ended", capture->wish.nic));
    } catch (const qmp::Error& error) {
      // Also when the NIC went before.
      parts.log(fmt::format("capture of {} ended: {}", capture->wish.nic, error.what()));
    }
    capture->is_deleted = true;
    error_code ignored;
    if (capture->in.is_open()) capture->in.cancel(ignored);
  }

  CaptureParts parts;
  std::map<std::string, Pointer> captures;  // by id
  unsigned last_ = 0;
};

Captures::Captures(CaptureParts parts) : state_(std::make_shared<State>(std::move(parts))) {}
Captures::~Captures() = default;

asio::awaitable<Json> Captures::begin(Json arguments) {
  const std::shared_ptr<State> state = state_;
  Wish wish = read_wish(arguments);
  if (state->captures.size() >= kMaxCaptures) {
    throw refusal(ExitStatus::kBusy, wish.nic,
                  fmt::format("{} captures of this VM run already", kMaxCaptures));
  }
  Fd fifo = open_fifo(state->parts.folder().path_of(wish.fifo));
  Pipe pipe = make_pipe();
  const std::uint32_t snaplen = wish.snaplen;
  const auto capture = std::make_shared<Capture>(state->parts.executor, std::move(wish),
                                                 fmt::format("vmrig-capture-{}", ++state->last_),
                                                 std::move(pipe.in), std::move(fifo));
  capture->pending = pcap_header(snaplen);
  state->captures.emplace(capture->id, capture);
  asio::co_spawn(
      state->parts.executor, [state, capture] { return state->pump(capture); }, asio::detached);
  std::exception_ptr fault;
  try {
    co_await state->add_filter(capture, pipe.out.get());
  } catch (...) {
    fault = std::current_exception();
  }
  pipe.out.reset();  // QEMU's own is the only one left, so that its end is seen
  if (fault) std::rethrow_exception(fault);
  capture->has_begun = true;
  state->parts.log(fmt::format("capture of {} begun", capture->wish.nic));
  if (capture->out.is_open()) state->watch_client(capture);
  co_return Json{{"id", capture->id}};
}

asio::awaitable<Json> Captures::end(Json arguments) {
  const std::shared_ptr<State> state = state_;
  const auto id = arguments.find("id");
  if (arguments.size() != 1 || id == arguments.end() || !id->is_string()) {
    throw refusal(ExitStatus::kUsage, {}, "vmrig-capture-end takes \"id\"");
  }
  const auto found = state->captures.find(id->get<std::string>());
  if (found == state->captures.end()) {
    throw refusal(ExitStatus::kFailed, id->get<std::string>(), "it has ended");
  }
  const State::Pointer capture = found->second;
  co_await state->finish(capture);
  co_return Json{{"dropped", capture->dropped}};
}

}  // namespace vmrig
