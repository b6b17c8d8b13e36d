#include "devices/balloon.hpp"

#include <nlohmann/json.hpp>
#include <utility>

namespace vmrig {

DeviceDescription describe_balloon(const BalloonWish& wish) {
  // A guest that runs out of memory takes back what it gave, before it kills a process.
  Json device = {{"driver", "virtio-balloon-pci"}, {"id", kBalloonId}, {"deflate-on-oom", true}};
  if (wish.reports_free_pages) device["free-page-reporting"] = true;
  return {.id = kBalloonId,
          .origin = wish.origin,
          .controller = {},
          .backends = {},
          .front_ends = {{FrontEnd::Bus::kPci, std::move(device)}}};
}

}  // namespace vmrig
