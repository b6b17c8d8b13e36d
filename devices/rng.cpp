#include "devices/rng.hpp"

namespace vmrig {

DeviceDescription describe_rng(const std::string& id, std::string origin) {
  return {
      .id = id,
      .origin = std::move(origin),
      .backends = {{BackendKind::kObject, {{"qom-type", "rng-builtin"}, {"id", id + "-source"}}}},
      .front_ends = {{FrontEnd::Bus::kPci,
                      {{"driver", "virtio-rng-pci"}, {"id", id}, {"rng", id + "-source"}}}}};
}

}  // namespace vmrig
