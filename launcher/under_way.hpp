// Counts the operations of one event loop, so that one can wait until there are none.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>

namespace vmrig {

class UnderWay {
  struct State {
    explicit State(const boost::asio::any_io_executor& executor)
        : none(executor, boost::asio::steady_timer::time_point::max()) {}
    boost::asio::steady_timer none;  // cancelled when there are none
    int count = 0;
  };

 public:
  // Counted while it lives; may outlive the UnderWay, as a coroutine's frame does. Move-only.
  class Mark {
   public:
    explicit Mark(std::shared_ptr<State> state) : state_(std::move(state)) { ++state_->count; }
    Mark(Mark&&) noexcept = default;
    Mark& operator=(Mark&&) = delete;
    ~Mark() {
      if (state_ && --state_->count == 0) state_->none.cancel();
    }

   private:
    std::shared_ptr<State> state_;
  };

  explicit UnderWay(const boost::asio::any_io_executor& executor)
      : state_(std::make_shared<State>(executor)) {}

  Mark begin() { return Mark(state_); }

  boost::asio::awaitable<void> wait_for_none() {
    const std::shared_ptr<State> state = state_;
    while (state->count > 0) {
      boost::system::error_code ignored;
      auto token = boost::asio::redirect_error(boost::asio::use_awaitable, ignored);
      co_await state->none.async_wait(token);
    }
  }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace vmrig
