// Looks at many VMs at once, so that one that hangs costs no other its numbers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launcher/metrics/ask_qemu.hpp"
#include "launcher/metrics/read_kernel.hpp"
#include "launcher/metrics/vm_reading.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {

struct CollectOptions {
  std::optional<std::string> name;  // of one VM; none: all there are
  QemuQuestions questions;
  PageWalk walk = PageWalk::kWhereCheap;
  std::chrono::milliseconds timeout{2000};  // for a VM to answer
};

// By name. Takes as long as the slowest VM, `timeout` at most. A VM that has ended badly is among
// them, with its record alone. Throws vmrig::Error when the folder can't be read.
std::vector<VmReading> collect(const StateRoot& root, const CollectOptions& options);

}  // namespace vmrig
