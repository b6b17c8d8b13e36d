#include "launcher/accelerator.hpp"

#include "launcher/preflight.hpp"

namespace vmrig {
namespace {

constexpr const char* kPath = "machine.accel";
constexpr const char* kNoFlag = "the CPU shows neither vmx nor svm";

// Why KVM can't be used here, empty when it can. The CPU's flags are not in it: they are no
// hindrance to one who asks for KVM.
std::string why_no_kvm(const PlanInput& input) {
  if (!input.caps.has_accelerator("kvm")) return "this QEMU is built without KVM";
  if (!input.facts.kvm.exists) return "there is no /dev/kvm";
  if (!input.facts.kvm.opens) return "/dev/kvm does not open: " + input.facts.kvm.error;
  return {};
}

Diagnostic judge_wish_for_kvm(const HostFacts& facts, const std::string& why_not,
                              const std::string& flag) {
  if (!why_not.empty()) {
    return finding(Severity::kProblem, kPath, "kvm is asked for, and " + why_not,
                   facts.kvm.exists ? "add the user to the group kvm, or --set machine.accel=tcg"
                                    : "modprobe kvm_intel (or kvm_amd), enable virtualisation in "
                                      "the firmware (a container: --device /dev/kvm), or --set "
                                      "machine.accel=tcg");
  }
  if (flag.empty()) {
    return finding(Severity::kWarning, kPath,
                   std::string(kNoFlag) + ": an ordinary guest may hang under this KVM",
                   "--set machine.accel=auto");
  }
  return finding(Severity::kOk, kPath, "kvm: " + flag + ", /dev/kvm opens");
}

}  // namespace

AccelDecision choose_accelerator(const PlanInput& input) {
  const std::string asked = "the config asks for it";
  const std::string why_not = why_no_kvm(input);
  const std::string flag = input.facts.vmx ? "vmx" : input.facts.svm ? "svm" : "";
  if (input.config.machine.accel == AccelChoice::kTcg) {
    return {Accel::kTcg, asked, finding(Severity::kOk, kPath, "tcg: " + asked)};
  }
  if (input.config.machine.accel == AccelChoice::kKvm) {
    return {Accel::kKvm, asked, judge_wish_for_kvm(input.facts, why_not, flag)};
  }
  if (why_not.empty() && !flag.empty()) {
    const std::string reason = flag + ", /dev/kvm opens";
    return {Accel::kKvm, reason, finding(Severity::kOk, kPath, "kvm: " + reason)};
  }
  const std::string reason = why_not.empty() ? kNoFlag : why_not;
  return {
      Accel::kTcg, reason,
      finding(Severity::kWarning, kPath, "the guest is emulated (tcg), which is slow: " + reason)};
}

}  // namespace vmrig
