// The sockets between a VM's QEMU and the switches in user space that serve its vhost-user NICs.
#pragma once

#include <optional>
#include <string>

#include "hostcfg/base/error.hpp"
#include "launcher/config/vm_config.hpp"

namespace vmrig {

// That no switch serves the NIC `id`: nobody listens on the socket, or nobody has connected to it.
Error no_switch(std::string operation, const std::string& id, const VhostUserConfig& nic);

// The reason of a QEMU that did not answer: QEMU is deaf until all of its switches are there.
// nullopt when they are, or none is wanted.
std::optional<Error> missing_switch(const VmConfig& config);

}  // namespace vmrig
