// Sockets of other processes that QEMU connects to, and their access for its user.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hostcfg/access_action.hpp"
#include "launcher/vm_state.hpp"

namespace vmrig {

// A switch that starts again makes its socket anew, and QEMU, which tries to connect each second,
// would be refused. For the one thread of its executor; does nothing while there is none to watch.
class AccessWatch {
 public:
  AccessWatch(boost::asio::any_io_executor executor,
              std::function<void(const std::string& line)> log);
  AccessWatch(const AccessWatch&) = delete;
  AccessWatch& operator=(const AccessWatch&) = delete;
  ~AccessWatch();

  // Looks after these from now on, and after no others: what is there already gets its access at
  // once, what comes gets it a moment after it has come.
  void look_after(std::vector<GrantAccess> grants);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Those of a VM's changes of the host that are about such sockets.
std::vector<GrantAccess> coming_sockets(const VmState& state);

}  // namespace vmrig
