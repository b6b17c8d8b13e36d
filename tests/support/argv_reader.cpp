#include "tests/support/argv_reader.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "hostcfg/base/error.hpp"

namespace vmrig::testing {
namespace {

enum class Form {
  kAlone,    // no value
  kText,     // taken as it is, commas and all
  kOptions,  // "a=1,b=2" with these keys
  kObject,   // JSON, or the same as options
};

struct Option {
  Form form;
  std::set<std::string, std::less<>> keys;  // of kOptions; "" is the value without a key
};

// What plans use, and no more. The keys are those of qemu docs, "QEMU Invocation".
const std::map<std::string, Option, std::less<>>& options() {
  using enum Form;
  static const std::map<std::string, Option, std::less<>> kOptionsOfPlans = {
      {"-no-user-config", {kAlone, {}}},
      {"-nodefaults", {kAlone, {}}},
      {"-S", {kAlone, {}}},
      {"-no-hpet", {kAlone, {}}},
      {"-kernel", {kText, {}}},
      {"-initrd", {kText, {}}},
      {"-append", {kText, {}}},
      {"-cpu", {kText, {}}},  // a model with its own list of features, which is the config's
      {"-name", {kOptions, {"guest", "debug-threads"}}},
      {"-display", {kOptions, {""}}},
      {"-msg", {kOptions, {"timestamp"}}},
      {"-sandbox", {kOptions, {"", "obsolete", "elevateprivileges", "spawn", "resourcecontrol"}}},
      {"-machine",
       {kOptions,
        {"type", "usb", "vmport", "dump-guest-core", "mem-merge", "memory-backend", "hpet"}}},
      {"-accel", {kOptions, {"", "thread"}}},
      {"-smp", {kOptions, {"cpus", "sockets", "cores", "threads", "maxcpus"}}},
      {"-m", {kOptions, {"size", "slots", "maxmem"}}},
      {"-numa", {kOptions, {"", "nodeid", "memdev", "cpus", "src", "dst", "val"}}},
      {"-overcommit", {kOptions, {"mem-lock", "cpu-pm"}}},
      {"-realtime", {kOptions, {"mlock"}}},
      {"-rtc", {kOptions, {"base", "driftfix"}}},
      {"-global",
       {kOptions,
        {"kvm-pit.lost_tick_policy", "ICH9-LPC.disable_s3", "ICH9-LPC.disable_s4",
         "PIIX4_PM.disable_s3", "PIIX4_PM.disable_s4", "ICH9-LPC.noreboot"}}},
      {"-boot", {kOptions, {"strict"}}},
      {"-action", {kOptions, {"shutdown", "panic", "reboot"}}},
      {"-no-reboot", {kAlone, {}}},
      {"-no-shutdown", {kAlone, {}}},
      {"-watchdog-action", {kOptions, {""}}},
      {"-chardev",
       {kOptions,
        {"", "id", "fd", "path", "server", "wait", "append", "reconnect", "reconnect-ms"}}},
      {"-mon", {kOptions, {"chardev", "mode"}}},
      {"-object", {kObject, {}}},
      {"-blockdev", {kObject, {}}},
      {"-netdev", {kObject, {}}},
      {"-device", {kObject, {}}}};
  return kOptionsOfPlans;
}

[[noreturn]] void refuse(std::string_view word, const std::string& why) {
  throw std::runtime_error(quote(word) + " " + why);
}

bool is_key(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

// The text up to the next single comma, with doubled ones made one; cuts it off.
std::string take_option(std::string_view& text) {
  std::string option;
  while (!text.empty()) {
    const char c = text.front();
    text.remove_prefix(1);
    if (c != ',') {
      option += c;
    } else if (text.starts_with(',')) {
      option += ',';
      text.remove_prefix(1);
    } else {
      break;
    }
  }
  return option;
}

void add(Json& object, const std::string& key, std::string value) {
  const auto found = object.find(key);
  if (found == object.end()) {
    object[key] = std::move(value);
  } else if (found->is_array()) {
    found->push_back(std::move(value));
  } else {
    *found = Json::array({*found, std::move(value)});
  }
}

Json read_value(const Option& option, const std::string& word) {
  if (option.form == Form::kText) return word;
  if (option.form == Form::kObject && word.starts_with('{')) {
    Json object = Json::parse(word, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) refuse(word, "is no JSON object");
    return object;
  }
  Json object = read_options(word);
  if (option.form == Form::kObject) return object;
  for (const auto& [key, value] : object.items()) {
    if (option.keys.count(key) == 0) refuse(word, "has the key " + quote(key));
    if (value.is_array() && key != "cpus") refuse(word, "has the key " + quote(key) + " twice");
  }
  return object;
}

}  // namespace

Json read_options(std::string_view text) {
  Json object = Json::object();
  while (!text.empty()) {
    const std::string option = take_option(text);
    const std::size_t equals = option.find('=');
    if (equals == std::string::npos) {
      add(object, "", option);
      continue;
    }
    const std::string key = option.substr(0, equals);
    if (!is_key(key)) refuse(option, "begins with no key");
    add(object, key, option.substr(equals + 1));
  }
  return object;
}

Json read_argument(const std::vector<std::string>& words) {
  if (words.empty()) throw std::runtime_error("an argument without a word");
  const auto found = options().find(words.front());
  if (found == options().end()) refuse(words.front(), "is no option that plans have");
  const Option& option = found->second;
  const std::size_t wanted = option.form == Form::kAlone ? 1 : 2;
  if (words.size() != wanted) refuse(words.front(), "has too many values or too few");
  return {{words.front(), wanted == 1 ? Json(nullptr) : read_value(option, words[1])}};
}

}  // namespace vmrig::testing
