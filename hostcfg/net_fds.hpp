// What a VM's network needs open. Nothing here is journaled: it goes with the process.
#pragma once

#include <string>
#include <vector>

#include "hostcfg/base/fd.hpp"

namespace vmrig {

// The queues of the tap `name`, which exists, in this network namespace; with IFF_VNET_HDR,
// nonblocking, one fd a queue. Throws vmrig::Error: it is none, is in use, has one queue only, or
// belongs to another user.
// Source: linux Documentation/networking/tuntap.rst.
std::vector<Fd> open_tap_queues(const std::string& name, int queues);

// Queues of the macvtap `name`, with IFF_VNET_HDR, nonblocking. /dev/tapN is used where it is that
// of this macvtap; where there is none (no udev, or another network namespace), a node is made in
// `folder`, which has to be writable, and removed at once. Throws vmrig::Error.
// Source: linux drivers/net/tap.c.
std::vector<Fd> open_macvtap_queues(const std::string& name, int queues, const std::string& folder);

// One /dev/vhost-net a queue. Throws vmrig::Error, which names the module where it is absent.
std::vector<Fd> open_vhost_net(int queues);

}  // namespace vmrig
