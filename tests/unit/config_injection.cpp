// Every string of the config with values that try to be something else: refused by the path's name,
// or in the plan exactly where an honest value would stand. The places come from the schema.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/utf8.hpp"
#include "hostcfg/facts.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/hotplug/attach_plan.hpp"
#include "launcher/hotplug/sequence.hpp"
#include "launcher/machine_map.hpp"
#include "launcher/network.hpp"
#include "launcher/show_plan.hpp"
#include "launcher/text.hpp"
#include "tests/support/argv_reader.hpp"
#include "tests/support/full_config.hpp"
#include "tests/support/hostile_values.hpp"
#include "tests/support/plan_inputs.hpp"
#include "tests/support/string_places.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

constexpr std::size_t kMostShown = 4000;  // bytes of one fault, whatever the value

// A list by contract: what a comma in it makes is another value of the same key.
bool is_comma_list(const std::string& pointer) { return pointer.ends_with("/pf"); }

bool is_shown_safely(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0 || (is_control(text) && text.front() != '\n')) return false;
    text.remove_prefix(length);
  }
  return true;
}

// The full config, without names that are made of others: they would change with them.
Json base_config() {
  Json config = full_config();
  int number = 0;
  for (Json& nic : config.at("nics")) {
    nic["mac"] = "52:54:00:00:00:" + std::to_string(10 + number);
    const bool is_made =
        nic.at("type") == "macvtap" || (nic.at("type") == "tap" && !nic.contains("device"));
    if (is_made) nic["ifname"] = "if" + std::to_string(number);
    ++number;
  }
  return config;
}

// With `value` at the place, and where the place is an id at all that refer to it.
Json with_value(Json config, const StringPlace& place, const std::string& value) {
  const Json::json_pointer pointer(place.pointer);
  if (place.is_key) {
    Json& object = config.at(pointer.parent_pointer());
    const Json member = object.at(pointer.back());
    object.erase(pointer.back());
    object[value] = member;
    return config;
  }
  if (pointer.back() == "id") {
    const Json old = config.at(pointer);
    for (Json& id : config.at("boot").at("order")) id = id == old ? Json(value) : id;
    for (Json& disk : config.at("disks")) {
      if (disk.value("iothread", Json()) == old) disk["iothread"] = value;
    }
  }
  config[pointer] = value;
  return config;
}

struct Outcome {
  std::optional<VmConfig> config;
  std::vector<Diagnostic> faults;
};

Outcome load(const ConfigSource& source) {
  Outcome outcome;
  try {
    outcome.config = load_config(source);
  } catch (const DiagnosticsError& refused) {
    outcome.faults = refused.diagnostics();
  }
  return outcome;
}

// As text of a file where JSON can hold it, and out of the environment, where it can be any bytes.
Outcome load_written(const StringPlace& place, const std::string& value) {
  // "$${" is how a config writes the two characters "${".
  return load({.text = with_value(base_config(), place, value).dump(),
               .file = "vm.json",
               .folder = "/vms",
               .environment = {},
               .settings = {}});
}

Outcome load_substituted(const StringPlace& place, const std::string& value) {
  return load({.text = with_value(base_config(), place, "${HOSTILE}").dump(),
               .file = "vm.json",
               .folder = "/vms",
               .environment = {{"HOSTILE", value}},
               .settings = {}});
}

// A host that has a network device of that name, of the kind that the key asks for.
HostFacts host_with(const std::string& pointer, const std::string& name) {
  static const HostFacts host = recorded_facts("two-socket-72cpu");
  HostFacts facts = host;
  NetDeviceFacts device;
  device.name = name;
  device.index = 90;
  device.mtu = 9216;
  device.up = true;
  device.kind = pointer.ends_with("/parent") ? "physical"
                : pointer.ends_with("/device") ? "tap"
                                               : "bridge";
  device.vlan_filtering = true;
  device.multi_queue = true;
  facts.net.push_back(device);
  return facts;
}

// All of a plan that does something, taken apart.
Json deeds_of(const Plan& plan) {
  Json arguments = Json::array();
  for (const QemuArgument& argument : plan.arguments) {
    const bool is_own = argument.origin.starts_with("qemu_args[");
    arguments.push_back(is_own ? Json(argument.words) : read_argument(argument.words));
  }
  Json steps = Json::array();
  for (const HostStep& step : plan.host_steps) {
    const Json action = to_json(step.action);
    // The journal has to give back the same.
    CHECK(to_json(host_action_from_json(Json::parse(action.dump()))) == action);
    steps.push_back(action);
  }
  Json helpers = Json::array();
  for (const Helper& helper : plan.helpers) {
    helpers.push_back({helper.id, helper.program, helper.arguments, helper.cgroup});
  }
  const Json whole = to_json(plan);
  return {{"arguments", std::move(arguments)}, {"steps", std::move(steps)},
          {"helpers", std::move(helpers)},     {"fds", whole.at("fds")},
          {"regions", whole.at("regions")},    {"claim", whole.at("claim")},
          {"config", whole.at("config")},      {"qemu", whole.at("qemu")},
          {"cgroup", whole.at("cgroup")}};
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// `json` with the value wherever the marker stands, keys among it.
Json substituted(const Json& json, const std::string& marker, const std::string& value) {
  if (json.is_string()) return replaced(json.get<std::string>(), marker, value);
  if (!json.is_structured()) return json;
  Json out = json.is_array() ? Json::array() : Json::object();
  for (const auto& [key, member] : json.items()) {
    if (json.is_array()) {
      out.push_back(substituted(member, marker, value));
    } else {
      out[replaced(key, marker, value)] = substituted(member, marker, value);
    }
  }
  return out;
}

Plan plan_for(const VmConfig& config, const StringPlace& place, const std::string& value,
              const qmp::QemuCaps& caps) {
  return make_plan({.config = config,
                    .facts = host_with(place.pointer, value),
                    .caps = caps,
                    .qemu = config.qemu,
                    .leases = {}});
}

void check_refusal(const std::vector<Diagnostic>& faults, const StringPlace& place) {
  const std::string expected =
      place.is_key ? place.path.substr(0, place.path.rfind('.')) : place.path;
  const bool is_named =
      std::any_of(faults.begin(), faults.end(), [&expected](const Diagnostic& fault) {
        return fault.path.starts_with(expected);
      });
  CHECK_MESSAGE(is_named, "the refusal does not name " << expected << " but "
                                                       << faults.front().path << ": "
                                                       << printable(faults.front().message));
  for (const Diagnostic& fault : faults) {
    const std::string shown = printable_lines(format_diagnostic(fault));
    CHECK(is_shown_safely(shown));
    CHECK(shown.size() < kMostShown);
  }
}

// What the plan of the marker does, for each QEMU, so that the plan of a value can be held against it.
class Place {
 public:
  explicit Place(const StringPlace& place) : place_(place) {
    for (const char* version : {"7.2", "10.0", "5.2"}) caps_.push_back(recorded_caps(version));
    for (const char* marker : {"Marker", "/Marker"}) {
      const Outcome outcome = load_written(place_, marker);
      if (!outcome.config) continue;
      for (const qmp::QemuCaps& caps : caps_) {
        deeds_[marker].push_back(deeds_of(plan_for(*outcome.config, place_, marker, caps)));
      }
    }
  }

  bool takes_any_text() const { return deeds_.count("Marker") != 0; }

  void check_plan(const VmConfig& config, const std::string& value) const {
    // A path is relative to the config's folder unless it begins with a slash.
    const bool is_absolute = value.starts_with('/');
    const auto honest = deeds_.find(is_absolute ? "/Marker" : "Marker");
    REQUIRE(honest != deeds_.end());
    const std::string marker = honest->first;
    for (std::size_t i = 0; i < caps_.size(); ++i) {
      const Plan plan = plan_for(config, place_, value, caps_[i]);
      const Json expected = substituted(honest->second[i], marker, value);
      const Json deeds = deeds_of(plan);
      CHECK_MESSAGE(deeds == expected,
                    Json::diff(expected, deeds).dump(1).substr(0, kMostShown));
      CHECK(is_shown_safely(show_plan(
          plan, {.colour = Colour::kOff, .columns = 100, .host_nodes = 2, .machine = {}})));
      CHECK(is_shown_safely(shell_quoted(plan.argv(), ShellForm::kForTerminal)));
      CHECK(is_shown_safely(json_text(to_json(plan))));
    }
  }

 private:
  const StringPlace& place_;
  std::vector<qmp::QemuCaps> caps_;
  std::map<std::string, std::vector<Json>> deeds_;  // by marker, each of the QEMUs
};

std::vector<StringPlace> places() { return string_places(config_schema(), base_config()); }

}  // namespace

TEST_CASE("a hostile string anywhere in a config is refused by its path, or stays what it is") {
  int refused = 0;
  int taken = 0;
  for (const StringPlace& place : places()) {
    CAPTURE(place.path);
    const Place honest(place);
    for (const std::string& value : hostile_values()) {
      INFO("value: " << printable(value.substr(0, 60)));
      if (is_comma_list(place.pointer) && value.find(',') != std::string::npos) continue;
      const bool is_text = is_utf8(value) && value.find("${") == std::string::npos;
      const bool can_be_key = !place.is_key || is_text;
      if (!can_be_key) continue;
      const Outcome outcome =
          place.is_key ? load_written(place, value) : load_substituted(place, value);
      if (is_text && !place.is_key) {
        CHECK(load_written(place, value).config.has_value() == outcome.config.has_value());
      }
      if (!outcome.config) {
        ++refused;
        check_refusal(outcome.faults, place);
        continue;
      }
      ++taken;
      REQUIRE_MESSAGE(honest.takes_any_text(), "taken where no free text is");
      honest.check_plan(*outcome.config, value);
    }
  }
  CHECK(places().size() > 100);
  CHECK(refused > 5000);
  CHECK(taken > 500);
}
