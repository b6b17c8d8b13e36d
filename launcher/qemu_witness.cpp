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
    // "run": it goes on as if nothing were.
    has_panicked_ = event.data.value("action", std::string()) != "run";
  } else if (event.name == "WATCHDOG") {
    const std::string action = event.data.value("action", std::string());
    // A reset ends the VM only where a reboot does; RESET comes else.
    has_hung_ = action == "poweroff" || action == "reset";
  } else if (event.name == "RESET") {
    *this = QemuWitness();
  }
}

EndWitness QemuWitness::testimony() const {
  const std::string reason = shutdown_data_.value("reason", std::string());
  return {.report = {},
          .shutdown_reason = reason,
          .stopped_by = {},
          .has_panicked = has_panicked_,
          .has_hung = has_hung_ && (!has_shut_down_ || reason == "guest-reset")};
}

bool is_of_note(const qmp::Event& event) {
  constexpr std::array<std::string_view, 7> kNames = {
      "STOP", "RESUME", "SHUTDOWN", "GUEST_PANICKED", "RESET", "WATCHDOG", "POWERDOWN"};
  return std::find(kNames.begin(), kNames.end(), event.name) != kNames.end();
}

}  // namespace vmrig
