#include "tests/fuzz/plan_checks.hpp"

#include <array>
#include <exception>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/host_action.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/hotplug/attach_plan.hpp"
#include "launcher/hotplug/sequence.hpp"
#include "launcher/machine_map.hpp"
#include "launcher/network.hpp"
#include "launcher/show_plan.hpp"
#include "launcher/text.hpp"
#include "tests/fuzz/check.hpp"
#include "tests/support/argv_reader.hpp"

namespace vmrig::fuzz {
namespace {

void check_argument(const QemuArgument& argument) {
  if (argument.origin.starts_with("qemu_args[")) {
    check(argument.words.size() == 1, "an argument of the config's own is one word");
    return;
  }
  try {
    testing::read_argument(argument.words);
  } catch (const std::exception& fault) {
    check(false, "QEMU reads an argument as it was meant", fault.what());
  }
}

void check_steps(const std::vector<HostStep>& steps) {
  for (const HostStep& step : steps) {
    const Json json = to_json(step.action);
    try {
      // Strictly: the journal would replace what is no UTF-8, and undo something else.
      check(host_action_from_json(Json::parse(json.dump())) == step.action,
            "a host step is the same after the journal", step.text);
    } catch (const std::exception& fault) {
      check(false, "a host step is understood after the journal", fault.what());
    }
  }
}

void check_faults(const DiagnosticsError& error) {
  for (const Diagnostic& each : error.diagnostics()) {
    check_printable(printable_lines(format_diagnostic(each)));
  }
}

// To whom most has to be handed.
QemuUser user_of_its_own() {
  QemuUser user;
  user.kind = QemuUser::Kind::kOwn;
  user.account.uid = user.account.gid = kFirstOwnUid;
  user.is_confined = true;
  return user;
}

void check_attach(const VmConfig& vm, DeviceKind kind, const Json& device, const HostFacts& facts,
                  const qmp::QemuCaps& caps) {
  try {
    const AttachWish wish = read_wish(to_json(vm), kind, device);
    check(wish.after_json == to_json(wish.after), "a config is the same with a device in its JSON",
          device.dump());
    const AttachPlan plan = plan_attach(wish,
                                        {.config = wish.alone,
                                         .facts = facts,
                                         .caps = caps,
                                         .qemu = "/usr/bin/qemu-system-x86_64",
                                         .leases = {}},
                                        {.nic_forms = nic_forms(caps),
                                         .shares = {},
                                         .near = {},
                                         .memory_nodes = {},
                                         .cgroup = {},
                                         .user = user_of_its_own()});
    check_steps(plan.host_steps);
    for (const PlugStep& step : backend_steps(plan.device)) {
      check(!step.plug.arguments.dump().empty(), "a backend is one JSON object");
    }
    for (const FrontEnd& front_end : plan.device.front_ends) {
      check(!front_end_step(front_end).plug.arguments.dump().empty(),
            "a front end is one JSON object");
    }
  } catch (const DiagnosticsError& refused) {
    check_faults(refused);
  } catch (const Error& refused) {
    check_printable(printable_lines(refused.what()));
  }
}

}  // namespace

std::string recorded_file(const std::string& name) {
  std::ifstream in(std::string(VMRIG_TEST_DATA) + "/" + name, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  check(!text.empty(), "recorded data is there", name);
  return text;
}

const std::vector<HostFacts>& recorded_hosts() {
  static const std::vector<HostFacts> hosts = [] {
    std::vector<HostFacts> list;
    for (const char* name : {"vm-2cpu", "no-kvm", "isolated-1gib", "two-socket-72cpu"}) {
      const std::string text = recorded_file(std::string("facts/") + name + ".json");
      list.push_back(facts_from_json(Json::parse(text)));
    }
    return list;
  }();
  return hosts;
}

const std::vector<qmp::QemuCaps>& recorded_qemus() {
  static const std::vector<qmp::QemuCaps> qemus = [] {
    std::vector<qmp::QemuCaps> list;
    for (const char* version : {"7.2", "10.0", "5.2"}) {
      list.push_back(
          qmp::QemuCaps::parse(recorded_file(std::string("caps/qemu-") + version + ".json")));
    }
    return list;
  }();
  return qemus;
}

void check_plan(const VmConfig& config, const HostFacts& facts, const qmp::QemuCaps& caps) {
  const Plan plan = make_plan({.config = config,
                               .facts = facts,
                               .caps = caps,
                               .qemu = "/usr/bin/qemu-system-x86_64",
                               .leases = {}});
  for (const QemuArgument& argument : plan.arguments) check_argument(argument);
  check_steps(plan.host_steps);
  check(!shell_quoted(plan.argv()).empty(), "a command line can be printed");
  check_printable(show_plan(plan, {.colour = Colour::kOff,
                                   .columns = 100,
                                   .host_nodes = facts.nodes.size(),
                                   .machine = map_machine(facts, seats_of(plan))}));
  check(!to_json(plan).dump(-1, ' ', false, Json::error_handler_t::replace).empty(),
        "a plan can be written as JSON");
}

void check_attaching(const VmConfig& config, const HostFacts& facts, const qmp::QemuCaps& caps) {
  const Json written = to_json(config);
  constexpr std::array kLists = {std::pair("/disks", DeviceKind::kDisk),
                                 std::pair("/nics", DeviceKind::kNic),
                                 std::pair("/vfio", DeviceKind::kVfio),
                                 std::pair("/usb", DeviceKind::kUsb),
                                 std::pair("/memory/devices", DeviceKind::kMemory),
                                 std::pair("/rngs", DeviceKind::kRng)};
  for (const auto& [list, kind] : kLists) {
    const Json::json_pointer place(list);
    if (!written.contains(place) || written.at(place).empty()) continue;
    const Json& device = written.at(place).back();
    const std::string id = device.at("id").get<std::string>();
    const VmConfig less = without_device(config, id);
    check(without_device(written, config, id) == to_json(less),
          "a config is the same without a device in its JSON", id);
    check_attach(less, kind, device, facts, caps);
  }
}

}  // namespace vmrig::fuzz
