// A virtio entropy source, fed from the host's.
#pragma once

#include <string>

#include "devices/description.hpp"

namespace vmrig {

DeviceDescription describe_rng(const std::string& id, std::string origin);

}  // namespace vmrig
