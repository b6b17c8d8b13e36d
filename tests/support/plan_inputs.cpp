#include "tests/support/plan_inputs.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "launcher/config/load_config.hpp"
#include "tests/support/temp_folder.hpp"

namespace vmrig::testing {
namespace {

std::string caps_file(const std::string& version) {
  return VMRIG_TEST_DATA "/caps/qemu-" + version + ".json";
}

}  // namespace

HostFacts recorded_facts(const std::string& name) {
  const std::string path = VMRIG_TEST_DATA "/facts/" + name + ".json";
  const std::string text = read_text(path);
  if (text.empty()) throw std::runtime_error("no such file: " + path);
  return facts_from_json(Json::parse(text));
}

qmp::QemuCaps recorded_caps(const std::string& version) {
  const std::string text = read_text(caps_file(version));
  if (text.empty()) throw std::runtime_error("no such file: " + caps_file(version));
  return qmp::QemuCaps::parse(text);
}

bool has_recorded_caps(const std::string& version) {
  return !read_text(caps_file(version)).empty();
}

VmConfig config_of(const std::string& json) {
  return load_config(
      {.text = json, .file = "vm.json", .folder = "/vms", .environment = {}, .settings = {}});
}

Plan plan_of(const std::string& config_json, const HostFacts& facts, std::vector<Lease> leases) {
  const VmConfig config = config_of(config_json);
  const qmp::QemuCaps caps = recorded_caps("7.2");
  return make_plan({.config = config,
                    .facts = facts,
                    .caps = caps,
                    .qemu = "/usr/bin/qemu-system-x86_64",
                    .leases = std::move(leases)});
}

std::string problems_of(const Plan& plan) {
  std::string text;
  for (const Diagnostic& problem : plan.problems()) {
    text += fmt::format("{} {}: {}{}{}\n", static_cast<int>(problem.status), problem.path,
                        problem.message, problem.mend.empty() ? "" : " | ", problem.mend);
  }
  return text;
}

}  // namespace vmrig::testing
