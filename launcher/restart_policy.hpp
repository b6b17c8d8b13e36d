// Whether a VM that has ended is started anew, and when.
#pragma once

#include <chrono>
#include <optional>

#include "launcher/config/vm_config.hpp"
#include "launcher/vm_outcome.hpp"

namespace vmrig {

class RestartPolicy {
 public:
  // A VM that has run for so long begins to count anew.
  static constexpr std::chrono::seconds kLasting{60};
  static constexpr std::chrono::seconds kFirstPause{1};
  static constexpr std::chrono::seconds kLongestPause{60};

  explicit RestartPolicy(const PowerConfig& power) : power_(power) {}

  // Whether the config wants a QEMU that has ended so to be started anew, however often.
  bool wants(const VmOutcome& outcome) const;
  // How long to wait before that, twice as long each time; nullopt when it is not wanted, or was
  // done too often.
  std::optional<std::chrono::seconds> next(const VmOutcome& outcome,
                                           std::chrono::steady_clock::duration has_run);
  int in_a_row() const { return in_a_row_; }
  int most() const { return power_.max_restarts; }

 private:
  PowerConfig power_;
  int in_a_row_ = 0;
};

// Whether any end of the VM is followed by a start.
bool may_restart(const PowerConfig& power);

}  // namespace vmrig
