// A new supervisor for a QEMU whose own was killed.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>

#include "launcher/session.hpp"
#include "launcher/state_dir.hpp"
#include "launcher/vm_state.hpp"
#include "qmp/deadline.hpp"

namespace vmrig {

// A VM without a supervisor, whose folder this process has taken (StateRoot::adopt).
struct Adoption {
  VmFolder folder;
  VmState state;
};

// Connects to the QEMU of `state`, which is no child of this process: its monitor, its console. The
// dead supervisor's commands may still be answered; such replies are nobody's and are dropped.
// `on_event` is called from then on. `state` gets whether the guest runs. Throws vmrig::Error when
// QEMU does not answer before the deadline; it goes on as it was.
// Source: qemu docs/interop/qmp-spec.rst; a monitor serves its next client when one has gone.
boost::asio::awaitable<Session> take_over(boost::asio::io_context& context, const VmFolder& folder,
                                          VmState& state,
                                          std::function<void(const qmp::Event&)> on_event,
                                          qmp::Deadline deadline);

}  // namespace vmrig
