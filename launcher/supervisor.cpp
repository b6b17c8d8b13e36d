#include "launcher/supervisor.hpp"

#include <signal.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launcher/agent_wait.hpp"
#include "launcher/signal_watch.hpp"
#include "launcher/vm_supervisor.hpp"

namespace vmrig {
namespace {

template <class Origin>
VmOutcome run_supervisor(Origin origin, SuperviseOptions options) {
  const Disposition broken_pipes(SIGPIPE, SIG_IGN);
  std::optional<Disposition> hang_up;
  if (options.mode == RunMode::kDetached) hang_up.emplace(SIGHUP, SIG_IGN);
  VmSupervisor supervisor(std::move(origin), std::move(options));
  return supervisor.run();
}

// Nothing that could be waited for.
std::optional<Error> no_such_sign(const Plan& plan, const SuperviseOptions& options) {
  Error::Parts parts{
      .status = ExitStatus::kUsage, .operation = {}, .object = {}, .cause = {}, .mend = {}};
  if (options.wait_for_agent && agent_socket(plan.config).empty()) {
    parts.operation = "wait for the guest's agent";
    parts.cause = "the VM has no channel to it";
    parts.mend = R"("channels": [{"name": "org.qemu.guest_agent.0"}])";
    return Error(std::move(parts));
  }
  if (!options.wait_for_text.empty() && serial_sockets(plan).empty()) {
    parts.operation = "wait for the console to print";
    parts.object = options.wait_for_text;
    parts.cause = "the VM has no console";
    parts.mend = R"("serial": [{"id": "con0", "type": "socket"}])";
    return Error(std::move(parts));
  }
  return std::nullopt;
}

}  // namespace

VmOutcome supervise(LaunchRequest request, SuperviseOptions options) {
  if (std::optional<Error> failure = no_such_sign(request.plan, options)) {
    request.folder.remove();
    throw *failure;
  }
  return run_supervisor(std::move(request), std::move(options));
}

VmOutcome supervise(Adoption adoption, SuperviseOptions options) {
  return run_supervisor(std::move(adoption), std::move(options));
}

}  // namespace vmrig
