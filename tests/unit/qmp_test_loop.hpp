#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <utility>

#include "qmp/client.hpp"
#include "qmp/deadline.hpp"

namespace qmp::testing {

/// Long enough never to be met on a loaded machine.
inline Deadline soon() { return deadline_in(std::chrono::seconds(10)); }

/// Short: for waits that are meant to time out.
inline Deadline at_once() { return deadline_in(std::chrono::milliseconds(30)); }

/// Runs the loop until the coroutine is done; rethrows its exception. Fails after 20 seconds.
template <typename Coroutine>
void run(asio::io_context& loop, Coroutine&& body) {
  std::exception_ptr failure;
  bool done = false;
  asio::co_spawn(loop, body(), [&](std::exception_ptr error) {
    failure = error;
    done = true;
  });
  loop.restart();
  const auto limit = deadline_in(std::chrono::seconds(20));
  while (!done) {
    if (loop.run_one_until(limit) == 0 && !done) throw std::runtime_error("the test hangs");
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace qmp::testing
