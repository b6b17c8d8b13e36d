// Every string of the config with values that try to be something else: refused by the path's name,
// or in the plan exactly where an honest value would stand. The places come from the schema.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
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
// Bytes of a value that is tried both ways: to parse a large one again tells nothing new.
constexpr std::size_t kMostWritten = 10'000;

// A list by contract: what a comma in it makes is another value of the same key.
bool is_comma_list(const std::string& pointer) { return pointer.find("/pf") != std::string::npos; }

bool is_shown_safely(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0 || (is_control(text) && text.front() != '\n')) return false;
    text.remove_prefix(length);
  }
  return true;
}

bool is_good(const Json& config) {
  try {
    (void)config_from_json(config);
    return true;
  } catch (const DiagnosticsError&) {
    return false;
  }
}

// Strings are tried one by one, so that a config need have no more than they depend on. All keys of
// the full config are in one of these.
std::vector<Json> small_configs() {
  Json full = full_config();
  int number = 0;
  // Names that are made of others would change with them.
  for (Json& nic : full.at("nics")) {
    nic["mac"] = "52:54:00:00:00:" + std::to_string(10 + number);
    const bool is_made =
        nic.at("type") == "macvtap" || (nic.at("type") == "tap" && !nic.contains("device"));
    if (is_made) nic["ifname"] = "if" + std::to_string(number);
    ++number;
  }
  const Json least = {{"name", "a"}, {"memory", {{"size", "64MiB"}}}};
  std::vector<Json> configs;
  bool needs_all = false;
  for (const auto& [key, value] : full.items()) {
    std::vector<Json> parts = {value};
    const bool is_list = value.is_array() && !value.empty() && value.front().is_object();
    if (is_list) {
      parts.clear();
      for (const Json& element : value) parts.push_back(Json::array({element}));
    }
    for (Json& part : parts) {
      Json config = least;
      config[key] = std::move(part);
      if (is_good(config)) {
        configs.push_back(std::move(config));
      } else {
        needs_all = true;  // it refers to another part
      }
    }
  }
  if (needs_all) configs.push_back(std::move(full));
  return configs;
}

struct Try {
  Json config;
  StringPlace place;
};

// Each string of each of these configs, once.
std::vector<Try> tries() {
  std::vector<Try> list;
  const Json schema = config_schema();
  for (const Json& config : small_configs()) {
    for (const StringPlace& place : string_places(schema, config)) {
      const auto same = [&](const Try& known) {
        return known.place.pointer == place.pointer && known.place.is_key == place.is_key &&
               known.config.contains(Json::json_pointer(place.pointer)) ==
                   config.contains(Json::json_pointer(place.pointer)) &&
               known.config.value(Json::json_pointer(place.pointer).parent_pointer(), Json()) ==
                   config.value(Json::json_pointer(place.pointer).parent_pointer(), Json());
      };
      if (std::none_of(list.begin(), list.end(), same)) list.push_back({config, place});
    }
  }
  return list;
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
    if (config.contains("boot")) {
      for (Json& id : config.at("boot").at("order")) id = id == old ? Json(value) : id;
    }
    for (Json& disk : config.value("disks", Json::array())) {
      if (disk.value("iothread", Json()) == old) disk["iothread"] = value;
    }
  }
  config[pointer] = value;
  return config;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
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

// A config whose one string changes: as text of a file, where JSON can hold it, or out of the
// environment, where it can be any bytes.
class OneString {
 public:
  explicit OneString(const Try& one)
      : written_(with_value(one.config, one.place, kToken).dump()),
        substituted_(with_value(one.config, one.place, "${HOSTILE}").dump()) {}

  Outcome write(const std::string& value) const {
    // "$${" is how a config writes the two characters "${".
    return load(source(replaced(written_, "\"" + std::string(kToken) + "\"", Json(value).dump())));
  }
  Outcome substitute(const std::string& value) const {
    ConfigSource from = source(substituted_);
    from.environment["HOSTILE"] = value;
    return load(from);
  }

 private:
  static constexpr const char* kToken = "TOKEN-OF-THE-TEST";
  static ConfigSource source(std::string text) {
    return {.text = std::move(text),
            .file = "vm.json",
            .folder = "/vms",
            .environment = {},
            .settings = {}};
  }

  std::string written_;
  std::string substituted_;
};

// A host that has a network device of that name, of the kind that the key asks for.
HostFacts host_with(const std::string& pointer, const std::string& name) {
  static const HostFacts host = recorded_facts("vm-2cpu");
  HostFacts facts = host;
  NetDeviceFacts device;
  device.name = name;
  device.index = 90;
  device.mtu = 9216;
  device.up = true;
  device.kind = pointer.ends_with("/parent")   ? "physical"
                : pointer.ends_with("/device") ? "tap"
                                               : "bridge";
  device.vlan_filtering = true;
  device.multi_queue = true;
  facts.net.push_back(device);
  return facts;
}

// All of a plan that does something, taken apart.
Json deeds_of(const Plan& plan, const Json& whole) {
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
  Json claim = whole.at("claim");
  claim.erase("uid");  // a VM's name decides which one
  return {{"arguments", std::move(arguments)}, {"steps", std::move(steps)},
          {"helpers", std::move(helpers)},     {"fds", whole.at("fds")},
          {"regions", whole.at("regions")},    {"claim", std::move(claim)},
          {"config", whole.at("config")},      {"qemu", whole.at("qemu")},
          {"cgroup", whole.at("cgroup")}};
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
  const bool is_named = std::any_of(
      faults.begin(), faults.end(),
      [&expected](const Diagnostic& fault) { return fault.path.starts_with(expected); });
  CHECK_MESSAGE(is_named, "the refusal does not name " << expected << " but " << faults.front().path
                                                       << ": "
                                                       << printable(faults.front().message));
  for (const Diagnostic& fault : faults) {
    const std::string shown = printable_lines(format_diagnostic(fault));
    CHECK(is_shown_safely(shown));
    CHECK(shown.size() < kMostShown);
  }
}

// What the plan of the marker does, for each QEMU, so that the plan of a value can be held against
// it.
class Honest {
 public:
  Honest(const StringPlace& place, const OneString& string) : place_(place) {
    // JSON on the command line, and QEMU's older lists of options.
    for (const char* version : {"7.2", "5.2"}) caps_.push_back(recorded_caps(version));
    for (const char* marker : {kName, kRelative, kAbsolute}) {
      const Outcome outcome = string.write(marker);
      if (!outcome.config) continue;
      for (const qmp::QemuCaps& caps : caps_) {
        const Plan plan = plan_for(*outcome.config, place_, marker, caps);
        deeds_[marker].push_back(deeds_of(plan, to_json(plan)));
      }
    }
  }

  bool takes_any_text() const { return deeds_.count(kName) != 0; }

  void check_plan(const VmConfig& config, const std::string& value) const {
    // Paths are relative to the config's folder; a bare name may be looked up in PATH.
    const char* marker = value.starts_with('/')                 ? kAbsolute
                         : value.find('/') != std::string::npos ? kRelative
                                                                : kName;
    const auto honest = deeds_.find(marker);
    REQUIRE(honest != deeds_.end());
    for (std::size_t i = 0; i < caps_.size(); ++i) {
      const Plan plan = plan_for(config, place_, value, caps_[i]);
      const Json expected = substituted(honest->second[i], marker, value);
      const Json whole = to_json(plan);
      const Json deeds = deeds_of(plan, whole);
      CHECK_MESSAGE(deeds == expected, difference(expected, deeds));
      if (i > 0) continue;  // is shown in the same way
      CHECK(is_shown_safely(show_plan(
          plan, {.colour = Colour::kOff, .columns = 100, .host_nodes = 2, .machine = {}})));
      CHECK(is_shown_safely(shell_quoted(plan.argv(), ShellForm::kForTerminal)));
      CHECK(is_shown_safely(json_text(whole)));
    }
  }

 private:
  static constexpr const char* kName = "marker";
  static constexpr const char* kRelative = "folder/marker";
  static constexpr const char* kAbsolute = "/folder/marker";

  static std::string difference(const Json& expected, const Json& deeds) {
    return Json::diff(expected, deeds)
        .dump(1, ' ', true, Json::error_handler_t::replace)
        .substr(0, kMostShown);
  }

  const StringPlace& place_;
  std::vector<qmp::QemuCaps> caps_;
  std::map<std::string, std::vector<Json>> deeds_;  // by marker, each of the QEMUs
};

}  // namespace

namespace {

// Every value at every place takes minutes under a sanitizer; of these each is tried at one place
// in so many, and each place with one value in so many.
std::size_t stride() {
  const char* full = std::getenv("VMRIG_FULL");  // NOLINT(concurrency-mt-unsafe)
  if (full != nullptr && std::string(full) == "1") return 1;
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  return 16;
#endif
#endif
  return 4;
}

}  // namespace

TEST_CASE("a hostile string anywhere in a config is refused by its path, or stays what it is") {
  std::size_t refused = 0;
  std::size_t taken = 0;
  const std::vector<Try> all = tries();
  std::size_t number = 0;
  for (const Try& one : all) {
    std::size_t turn = number++;
    CAPTURE(one.place.path);
    const OneString string(one);
    const Honest honest(one.place, string);
    for (const std::string& value : hostile_values()) {
      if (turn++ % stride() != 0) continue;
      INFO("value: " << printable(value.substr(0, 60)));
      if (is_comma_list(one.place.pointer) && value.find(',') != std::string::npos) continue;
      const bool can_be_written = is_utf8(value) && value.find("${") == std::string::npos &&
                                  (value.size() < kMostWritten || one.place.is_key);
      if (one.place.is_key && !can_be_written) continue;
      const Outcome outcome = one.place.is_key ? string.write(value) : string.substitute(value);
      if (can_be_written && !one.place.is_key) {
        CHECK(string.write(value).config.has_value() == outcome.config.has_value());
      }
      if (!outcome.config) {
        ++refused;
        check_refusal(outcome.faults, one.place);
        continue;
      }
      ++taken;
      REQUIRE_MESSAGE(honest.takes_any_text(), "taken where no free text is");
      honest.check_plan(*outcome.config, value);
    }
  }
  CHECK(all.size() > 150);
  CHECK(refused * stride() > 8000);
  CHECK(taken * stride() > 1000);
}
