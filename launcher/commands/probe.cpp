// vmrig probe: what a QEMU can do.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "launcher/caps_cache.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/cli/progress_line.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"

namespace vmrig {
namespace {

struct ProbeOptions {
  std::optional<std::string> qemu;
  bool json = false;
};

std::string join(const std::set<std::string>& words) {
  return words.empty() ? "none" : fmt::format("{}", fmt::join(words, ", "));
}

std::string machine_text(const qmp::QemuCaps& caps, const char* alias) {
  const qmp::MachineCaps* machine = caps.machine(alias);
  if (machine == nullptr) return "missing";
  return fmt::format("{}, up to {} vCPUs{}", machine->name, machine->max_cpus,
                     machine->hotpluggable_cpus ? ", vCPU hotplug" : "");
}

std::string mem_lock_text(qmp::MemLockForm form) {
  switch (form) {
    case qmp::MemLockForm::none:
      return "no -overcommit mem-lock";
    case qmp::MemLockForm::boolean:
      return "on, off";
    case qmp::MemLockForm::on_fault:
      return "on, off, on-fault";
  }
  return "";
}

std::string json_options_text(const qmp::QemuCaps& caps) {
  std::set<std::string> options = {"-blockdev"};
  if (caps.json_cli_object) options.insert("-object");
  if (caps.json_cli_device) options.insert("-device");
  if (caps.json_cli_netdev) options.insert("-netdev");
  return join(options);
}

std::string show(const std::string& path, const qmp::QemuCaps& caps) {
  const auto& version = caps.version;
  std::vector<std::vector<std::string>> rows = {
      {"QEMU", fmt::format("{}.{}.{} {}", version.major, version.minor, version.micro,
                           printable(version.package))},
      {"binary", printable(path)},
      {"accelerators", join(caps.accelerators)},
      {"q35", machine_text(caps, "q35")},
      {"pc", machine_text(caps, "pc")},
      {"CPU models", fmt::format("{}", caps.cpu_models.size())},
      {"devices", fmt::format("{}", caps.devices.size())},
      {"QMP", fmt::format("{} commands, {} events", caps.commands.size(), caps.events.size())},
      {"aio", join(caps.aio_modes)},
      {"netdevs", join(caps.netdev_backends)},
      {"chardevs", join(caps.chardev_backends)},
      {"block drivers", join(caps.blockdev_drivers)},
      {"JSON options", json_options_text(caps)},
      {"memory lock", mem_lock_text(caps.overcommit_mem_lock)},
      {"sandbox", caps.sandbox_option ? "yes" : "no"},
      {"-run-with", join(caps.run_with)},
      {"-action", caps.action_option ? "yes" : "no"},
  };
  constexpr std::size_t kLabelColumns = 15;
  for (auto& row : rows) row[1] = wrapped(row[1], stdout_columns(), kLabelColumns);
  return table(rows);
}

ExitStatus probe(const ProbeOptions& options) {
  const std::string path = find_qemu(options.qemu.value_or(""), environment_value("PATH"));
  CapsOptions caps_options;
  caps_options.cache_folder = cache_folder();
  const qmp::QemuCaps caps = [&] {
    const ProgressLine progress(fmt::format("asking {} what it can do", quote(path)),
                                caps_options.probe_timeout);
    return load_caps(path, caps_options);
  }();
  if (options.json) {
    write_json(caps.to_json());
  } else {
    write_out(show(path, caps));
  }
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_probe(CommandLine& line) {
  auto options = std::make_shared<ProbeOptions>();
  line.positional("QEMU", "Path or name of the binary (qemu-system-x86_64)", options->qemu);
  line.flag("--json", "All of it, as plan --caps reads it", options->json);
  return [options](const Context&) { return probe(*options); };
}

}  // namespace vmrig
