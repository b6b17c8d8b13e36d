// What is kept to start a QEMU once more.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/launch_recipe.hpp"
#include "tests/support/plan_inputs.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

Plan golden_plan(const std::string& name, const std::string& facts_name) {
  const VmConfig config = load_config({.text = read_text(VMRIG_GOLDEN "/" + name + ".json"),
                                       .file = name,
                                       .folder = "/vms",
                                       .environment = {},
                                       .settings = {}});
  const HostFacts facts = recorded_facts(facts_name);
  const qmp::QemuCaps caps = recorded_caps("7.2");
  return make_plan({.config = config, .facts = facts, .caps = caps, .qemu = "/q", .leases = {}});
}

bool names(const Plan& plan, const std::string& text) {
  const std::vector<std::string> argv = plan.argv();
  return std::any_of(argv.begin(), argv.end(), [&text](const std::string& word) {
    return word.find(text) != std::string::npos;
  });
}

}  // namespace

TEST_CASE("a plan comes back from its recipe with all that a launch needs") {
  for (const auto& [name, facts] :
       std::vector<std::pair<std::string, std::string>>{{"all-devices", "vm-2cpu"},
                                                        {"network", "two-socket-72cpu"},
                                                        {"router-vf", "two-socket-72cpu"},
                                                        {"memory", "two-socket-72cpu"},
                                                        {"limits", "isolated-1gib"},
                                                        {"wide", "two-socket-512cpu"}}) {
    CAPTURE(name);
    const Plan plan = golden_plan(name, facts);
    const Plan back = plan_of_recipe(Json::parse(recipe_of(plan).dump()));
    CHECK(back.argv() == plan.argv());
    CHECK(recipe_of(back) == recipe_of(plan));
    CHECK(back.regions == plan.regions);
    REQUIRE(back.fds.size() == plan.fds.size());
    for (std::size_t i = 0; i < plan.fds.size(); ++i) {
      CHECK(back.fds[i].number == plan.fds[i].number);
      CHECK(back.fds[i].source == plan.fds[i].source);
      CHECK_FALSE(back.fds[i].origin.empty());
    }
    CHECK(back.placement.vcpus == plan.placement.vcpus);
    CHECK(back.placement.iothreads == plan.placement.iothreads);
    CHECK(back.cgroup == plan.cgroup);
    CHECK(to_json(back.config) == to_json(plan.config));
    // What is done already is not in it.
    CHECK(back.host_steps.empty());
  }
}

TEST_CASE("devices that went are left out, with their fds, and all others stay") {
  const Plan plan = golden_plan("network", "two-socket-72cpu");
  const Plan less = without_devices(plan, {"lan", "out"});
  CHECK(names(plan, "\"id\":\"lan\""));
  CHECK(plan.helpers.size() == 1);
  CHECK_FALSE(names(less, "\"lan\""));
  CHECK_FALSE(names(less, "\"out\""));
  CHECK(less.helpers.empty());
  CHECK(names(less, "\"id\":\"wan\""));
  CHECK(less.fds.size() < plan.fds.size());
  for (const ChildFd& fd : less.fds) CHECK(fd.origin != "nics[0]");
  // Each fd that an argument names is there, with the number that it names.
  for (const ChildFd& fd : less.fds) {
    if (fd.source.kind == FdSource::Kind::kListeningSocket) continue;
    CHECK(names(less, std::to_string(fd.number)));
  }
  CHECK(less.config.nics.size() == plan.config.nics.size() - 2);
  // An id that is none changes nothing.
  CHECK(without_devices(plan, {"nothing"}).argv() == plan.argv());
}

TEST_CASE("a recipe of another version, or one that is damaged, is refused") {
  Json recipe = recipe_of(golden_plan("minimal", "vm-2cpu"));
  CHECK_NOTHROW((void)plan_of_recipe(recipe));
  Json other = recipe;
  other["vmrig_version"] = "0.0.1";
  CHECK_THROWS_AS((void)plan_of_recipe(other), Error);
  other = recipe;
  other["arguments"] = 3;
  CHECK_THROWS_AS((void)plan_of_recipe(other), Error);
  other = recipe;
  other.erase("fds");
  CHECK_THROWS_AS((void)plan_of_recipe(other), Error);
  CHECK_THROWS_AS((void)plan_of_recipe(Json::array()), Error);
}
