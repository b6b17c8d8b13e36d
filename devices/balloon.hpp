// A virtio balloon: memory that the guest gives back to the host, and gets again.
#pragma once

#include <string>

#include "devices/description.hpp"

namespace vmrig {

inline constexpr const char* kBalloonId = "vmrig-balloon0";

struct BalloonWish {
  std::string origin;              // config path
  bool reports_free_pages = true;  // the guest tells of pages that it has no use for
};

DeviceDescription describe_balloon(const BalloonWish& wish);

}  // namespace vmrig
