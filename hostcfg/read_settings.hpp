// Reads how a host is tuned.
#pragma once

#include <string>

#include "hostcfg/facts.hpp"
#include "hostcfg/host_settings.hpp"

namespace vmrig {

// `root` holds proc, sys, dev and etc; another folder than "/" in tests. `facts` are of the same
// host. Reads only, never blocks on a FIFO, and takes contents that make no sense as not told.
// Throws vmrig::Error only when the root itself can't be opened.
// Source: linux Documentation/ABI/{stable,testing}/sysfs-*, admin-guide/sysctl/.
HostSettings read_host_settings(const std::string& root, const HostFacts& facts);

}  // namespace vmrig
