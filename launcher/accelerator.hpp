// KVM or TCG, and why.
#pragma once

#include <string>

#include "launcher/plan.hpp"

namespace vmrig {

struct AccelDecision {
  Accel accel = Accel::kTcg;
  std::string reason;
  Diagnostic finding;  // ok; a warning about emulation; a problem when KVM is asked for and absent
};

// "auto" takes KVM where the CPU shows vmx or svm and /dev/kvm opens: under a KVM without the flag
// (a paravirtual one) an ordinary guest hangs. Pure.
AccelDecision choose_accelerator(const PlanInput& input);

}  // namespace vmrig
