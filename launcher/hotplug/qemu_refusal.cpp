#include "launcher/hotplug/qemu_refusal.hpp"

#include <utility>

namespace vmrig {

Error qemu_refusal(std::string operation, std::string object, const qmp::Error& fault) {
  const bool is_late = fault.kind() == qmp::ErrorKind::timeout;
  const bool is_refusal = fault.kind() == qmp::ErrorKind::command;
  return Error({.status = is_late ? ExitStatus::kTimeUp : ExitStatus::kQemu,
                .operation = std::move(operation),
                .object = std::move(object),
                .cause = is_late      ? "QEMU has not answered in time"
                         : is_refusal ? "QEMU: " + fault.desc()
                                      : fault.what(),
                .mend = {}});
}

}  // namespace vmrig
