// A running VM's cgroup, in the kernel's own files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launcher/vm_state.hpp"

namespace vmrig {

struct LimitReading {
  std::string file;    // "memory.max", "io.max 8:0"
  std::string wanted;  // as the kernel writes it
  std::string found;   // empty: there is none
};

struct VmLimits {
  std::string group;  // folder
  bool has_qemu = false;
  std::vector<LimitReading> readings;
  // What is used of it; none: the controller is not there.
  std::optional<Bytes> memory;
  std::optional<std::uint64_t> tasks;
  std::optional<std::uint64_t> cpu_us;  // time since its start

  bool as_wanted() const;
};

// nullopt: the VM has none of its own.
std::optional<VmLimits> read_vm_limits(const VmState& state);

// "cpu 250 %, memory 9GiB (1024 MiB used), 512 tasks (12 used)".
std::string limits_text(const VmLimits& limits);

}  // namespace vmrig
