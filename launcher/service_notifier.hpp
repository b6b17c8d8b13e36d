// A supervisor's words to the service manager that has started it.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <string>

#include "launcher/initial_state.hpp"
#include "launcher/notify_socket.hpp"

namespace vmrig {

// For the one thread of its executor, by whose turns the signs of life are given: a supervisor that
// hangs gives none. Without a service manager nothing happens.
class ServiceNotifier {
 public:
  ServiceNotifier(const boost::asio::any_io_executor& executor, const ServiceSettings& settings,
                  RunMode mode);
  ServiceNotifier(const ServiceNotifier&) = delete;
  ServiceNotifier& operator=(const ServiceNotifier&) = delete;

  // The guest runs and is pinned. Signs of life are given from here on.
  void ready(const std::string& status);
  // One line for people.
  void status(const std::string& status);
  // The same for what may take its time: the manager is asked to be patient for so long from now.
  void busy(const std::string& status, std::chrono::seconds patience);
  // The VM is being ended, which takes `patience` at most.
  void stopping(const std::string& status, std::chrono::seconds patience);

 private:
  void give_sign_of_life();

  NotifySocket socket_;
  ServiceSettings settings_;
  RunMode mode_;
  boost::asio::steady_timer timer_;
};

}  // namespace vmrig
