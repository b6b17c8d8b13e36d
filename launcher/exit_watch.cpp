#include "launcher/exit_watch.hpp"

#include <fcntl.h>

#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <list>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/fd.hpp"
#include "launcher/process.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

// Also undone when a suspended coroutine is destroyed with its event loop.
class Registration {
 public:
  Registration(std::list<asio::steady_timer*>& list, asio::steady_timer& timer)
      : list_(list), place_(list.insert(list.end(), &timer)) {}
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;
  ~Registration() { list_.erase(place_); }

 private:
  std::list<asio::steady_timer*>& list_;
  std::list<asio::steady_timer*>::iterator place_;
};

}  // namespace

// Shared with the coroutines that wait, so that the watch may go while they are suspended.
struct ExitWatch::State {
  State(const asio::any_io_executor& executor, int fd) : pidfd(executor, fd) {}

  asio::posix::stream_descriptor pidfd;
  std::list<asio::steady_timer*> waiting;  // each on the stack of its coroutine
  bool has_ended = false;
  std::function<void()> handler;

  void wake() {
    for (asio::steady_timer* timer : waiting) timer->cancel();
  }
  void end() {
    if (std::exchange(has_ended, true)) return;
    wake();
    if (const auto call = std::exchange(handler, nullptr)) call();
  }
};

ExitWatch::ExitWatch(asio::any_io_executor executor, int pidfd) {
  Fd copy(::fcntl(pidfd, F_DUPFD_CLOEXEC, 3));
  if (!copy) throw system_error("watch process", {}, errno);
  state_ = std::make_shared<State>(executor, copy.get());
  (void)copy.release();  // the descriptor owns it
  if (wait_for_exit(state_->pidfd.native_handle(), qmp::Deadline{})) {
    state_->has_ended = true;
    return;
  }
  state_->pidfd.async_wait(
      asio::posix::stream_descriptor::wait_read,
      [state = std::weak_ptr<State>(state_)](const boost::system::error_code& fault) {
        if (const auto alive = state.lock(); alive && !fault) alive->end();
      });
}

ExitWatch::~ExitWatch() {
  state_->handler = nullptr;
  boost::system::error_code ignored;
  state_->pidfd.close(ignored);
  state_->wake();
}

asio::awaitable<bool> ExitWatch::wait(qmp::Deadline deadline) {
  const std::shared_ptr<State> state = state_;
  if (state->has_ended) co_return true;
  asio::steady_timer timer(state->pidfd.get_executor(), deadline);
  const Registration registration(state->waiting, timer);
  boost::system::error_code fault;
  auto token = asio::redirect_error(asio::use_awaitable, fault);
  co_await timer.async_wait(token);
  co_return state->has_ended;
}

bool ExitWatch::has_ended() const { return state_->has_ended; }

void ExitWatch::on_exit(std::function<void()> handler) {
  if (!state_->has_ended || !handler) {
    state_->handler = std::move(handler);
    return;
  }
  asio::post(state_->pidfd.get_executor(), std::move(handler));
}

}  // namespace vmrig
