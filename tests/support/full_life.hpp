// The life of a VM that changes all of the host that this machine lets it, step by step.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/base/json.hpp"
#include "tests/support/page_pool_guard.hpp"
#include "tests/support/vm_guard.hpp"

namespace vmrig::testing {

// A program of this build's tests ("vmrig_crash").
std::string test_program(const std::string& name);

// To be used in a network sandbox. The VM is "k": a tap on a bridge of its own making, a macvtap,
// hugepages that are added to the host's pool, on a hugetlbfs mounted for it. Its guest never runs,
// and it takes no longer than QEMU does.
class FullLife {
 public:
  FullLife();

  // Why it can't be lived here; nullopt when it can.
  std::optional<std::string> lack() const;

  enum class Step { kStart, kAttachNic, kAttachDisk, kDetachNic, kStop };
  static constexpr Step kSteps[] = {Step::kStart, Step::kAttachNic, Step::kAttachDisk,
                                    Step::kDetachNic, Step::kStop};

  // Takes one step, by `program` with more in its environment (vmrig with nothing).
  CommandResult take(Step step, const std::string& program = vmrig_program(),
                     const std::map<std::string, std::string>& environment = {});

  // The host now. To be compared with another one of this life.
  std::string host() const;
  // Waits until the host is so again; what is different, or empty.
  std::string difference_to(const std::string& before) const;

  // What of state.json, QEMU and the host does not agree, for a VM with a supervisor; empty: all
  // does.
  std::string disagreement() const;

  const VmGuard& guard() const { return guard_; }
  std::string record() const { return guard_.state_dir() + "/k/qemu.stat"; }
  // QEMU's or the supervisor's pid of state.json, or -1.
  pid_t pid_of(const std::string& who) const;

 private:
  CommandResult detach(CommandRequest request);

  PagePoolGuard pool_{0};
  VmGuard guard_;
  std::string config_;
  std::string image_;
};

std::string_view name_of(FullLife::Step step);

}  // namespace vmrig::testing
