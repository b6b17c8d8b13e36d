#include "launcher/log_watch.hpp"

#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/fd.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::milliseconds kPause{100};

Fd watch(const std::string& path) {
  Fd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!fd || ::inotify_add_watch(fd.get(), path.c_str(), IN_MODIFY) < 0) {
    throw system_error("watch", path, errno);
  }
  return fd;
}

}  // namespace

struct LogWatch::State : std::enable_shared_from_this<State> {
  State(const asio::any_io_executor& executor, Fd fd, std::function<void()> look)
      : changes(executor, fd.get()), pause(executor), cut_if_long(std::move(look)) {
    (void)fd.release();  // the descriptor owns it
  }

  void wait() {
    changes.async_wait(asio::posix::stream_descriptor::wait_read,
                       [self = shared_from_this()](const boost::system::error_code& fault) {
                         if (!fault && self->cut_if_long) self->look();
                       });
  }

  void look() {
    cut_if_long();
    pause.expires_after(kPause);
    pause.async_wait([self = shared_from_this()](const boost::system::error_code& fault) {
      if (fault || !self->cut_if_long) return;
      self->drain();
      self->wait();
    });
  }

  // What was written before the look, or in the pause after it, needs another.
  void drain() {
    std::array<char, 4096> buffer{};
    bool is_changed = false;
    while (::read(changes.native_handle(), buffer.data(), buffer.size()) > 0) is_changed = true;
    if (is_changed) cut_if_long();
  }

  asio::posix::stream_descriptor changes;
  asio::steady_timer pause;
  std::function<void()> cut_if_long;
};

LogWatch::LogWatch(const asio::any_io_executor& executor, const std::string& path,
                   std::function<void()> cut_if_long)
    : state_(std::make_shared<State>(executor, watch(path), std::move(cut_if_long))) {
  state_->wait();
}

LogWatch::~LogWatch() {
  state_->cut_if_long = nullptr;
  state_->pause.cancel();
  boost::system::error_code ignored;
  state_->changes.close(ignored);
}

}  // namespace vmrig
