#include "launcher/qemu_witness.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

namespace vmrig {

void QemuWitness::note(const qmp::Event& event) {
  if (event.name == "SHUTDOWN") {
    shutdown_data_ = event.data;
    has_shut_down_ = true;
  } else if (event.name == "GUEST_PANICKED") {
    has_panicked_ = true;
  }
}

EndWitness QemuWitness::testimony() const {
  return {.report = {},
          .shutdown_reason = shutdown_data_.value("reason", std::string()),
          .stopped_by = {},
          .has_panicked = has_panicked_};
}

bool is_of_note(const qmp::Event& event) {
  constexpr std::array<std::string_view, 7> kNames = {
      "STOP", "RESUME", "SHUTDOWN", "GUEST_PANICKED", "RESET", "WATCHDOG", "POWERDOWN"};
  return std::find(kNames.begin(), kNames.end(), event.name) != kNames.end();
}

}  // namespace vmrig
