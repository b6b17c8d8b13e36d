#include "devices/rng.hpp"

#include "devices/ids.hpp"

namespace vmrig {

void describe(Fields& fields, RngConfig& rng) {
  fields.required("id", "Name of the entropy source in vmrig and QMP.", rng.id, id_rule());
}

DeviceDescription describe_rng(const std::string& id, std::string origin) {
  return {
      .id = id,
      .origin = std::move(origin),
      .controller = {},
      .backends = {{BackendKind::kObject, {{"qom-type", "rng-builtin"}, {"id", id + "-source"}}}},
      .front_ends = {{FrontEnd::Bus::kPci,
                      {{"driver", "virtio-rng-pci"}, {"id", id}, {"rng", id + "-source"}}}}};
}

}  // namespace vmrig
