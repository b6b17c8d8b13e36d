#include "devices/panic.hpp"

namespace vmrig {

DeviceDescription describe_panic() {
  return {
      .id = "vmrig-panic0",
      .origin = "power.pvpanic",
      .controller = {},
      .backends = {},
      .front_ends = {{FrontEnd::Bus::kOther, {{"driver", kPanicDriver}, {"id", "vmrig-panic0"}}}}};
}

}  // namespace vmrig
