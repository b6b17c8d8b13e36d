#pragma once

#include "qmp/caps.hpp"
#include "qmp/client.hpp"
#include "qmp/deadline.hpp"

namespace qmp {

/// Asks a QEMU what it can do, in two pipelined batches. `client` has to be past its handshake,
/// best on `-M none -nodefaults -display none -S`. Changes nothing in QEMU.
/// Throws Error: closed, timeout, protocol (a reply of unexpected form).
asio::awaitable<QemuCaps> probe(Client& client, Deadline deadline = kNoDeadline);

}  // namespace qmp
