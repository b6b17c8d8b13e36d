// Lets the coroutines of one event loop through one by one.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <utility>

namespace vmrig {

class Turn {
  struct State {
    explicit State(const boost::asio::any_io_executor& executor)
        : waiters(executor, boost::asio::steady_timer::time_point::max()) {}
    boost::asio::steady_timer waiters;
    bool is_held = false;
  };

 public:
  // Gives the turn on when it ends; may outlive the Turn. Move-only.
  class Holder {
   public:
    explicit Holder(std::shared_ptr<State> state) : state_(std::move(state)) {}
    Holder(Holder&&) noexcept = default;
    Holder& operator=(Holder&&) = delete;
    ~Holder() {
      if (!state_) return;
      state_->is_held = false;
      state_->waiters.cancel_one();
    }

   private:
    std::shared_ptr<State> state_;
  };

  explicit Turn(const boost::asio::any_io_executor& executor)
      : state_(std::make_shared<State>(executor)) {}

  boost::asio::awaitable<Holder> take() {
    const std::shared_ptr<State> state = state_;
    while (state->is_held) {
      boost::system::error_code ignored;
      auto token = boost::asio::redirect_error(boost::asio::use_awaitable, ignored);
      co_await state->waiters.async_wait(token);
    }
    state->is_held = true;
    co_return Holder(state);
  }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace vmrig
