// A virtio entropy source, fed from the host's.
#pragma once

#include <string>

#include "devices/description.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

// One of the config's "rngs"; its "rng" is only on or off.
struct RngConfig {
  std::string id;
};

void describe(Fields& fields, RngConfig& rng);

DeviceDescription describe_rng(const std::string& id, std::string origin);

}  // namespace vmrig
