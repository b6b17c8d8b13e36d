// Ports that are in use.
#pragma once

#include <vector>

#include "hostcfg/facts.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {

// Those of this network namespace, TCP that listen and UDP. `root` is "/", or a test's.
// Source: linux Documentation/networking/proc_net_tcp.rst.
std::vector<Listener> read_listeners(const FolderReader& root);

}  // namespace vmrig
