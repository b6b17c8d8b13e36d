// A character device of the host: is it there, and does it open?
#pragma once

#include "hostcfg/facts.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {

enum class NodeProbe { kOpen, kAskForAccess };

// `name` is relative to the root ("dev/kvm"). kOpen opens it for reading and writing and closes it
// again; kAskForAccess only asks whether its mode would let us.
DeviceFile read_device_node(const FolderReader& root, const char* name, NodeProbe probe);

}  // namespace vmrig
