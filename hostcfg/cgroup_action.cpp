#include "hostcfg/cgroup_action.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/error.hpp"
#include "hostcfg/facts_reader.hpp"

namespace vmrig {
namespace {

constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (fault != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::string read_folder(FactsReader& reader, const char* key) {
  std::string path = reader.string(key);
  if (!is_cgroup_folder(path)) reader.refuse(key, quote(path) + " is no cgroup's folder");
  return path;
}

std::vector<std::string> read_controllers(FactsReader& reader, const char* key) {
  std::vector<std::string> controllers = reader.strings(key);
  for (const std::string& name : controllers) {
    const bool good = !name.empty() && std::all_of(name.begin(), name.end(),
                                                   [](char c) { return c >= 'a' && c <= 'z'; });
    if (!good) reader.refuse(key, quote(name) + " is no controller");
  }
  return controllers;
}

bool is_setting(const std::string& file, const std::string& value) {
  return file.find('/') == std::string::npos && file.find('.') != std::string::npos &&
         !file.starts_with('.') && value.find('\n') == std::string::npos;
}

struct Limit {
  const char* key;      // in JSON
  const char* io_max;   // in io.max
  const char* meaning;  // behind the number
  std::optional<std::uint64_t> LimitDevice::*member;
};
constexpr std::array<Limit, 4> kLimits = {
    {{"read_bps", "rbps", "read", &LimitDevice::read_bps},
     {"write_bps", "wbps", "written", &LimitDevice::write_bps},
     {"read_iops", "riops", "reads", &LimitDevice::read_iops},
     {"write_iops", "wiops", "writes", &LimitDevice::write_iops}}};

std::string cpu_text(std::string_view value) {
  const std::size_t space = value.find(' ');
  const auto quota = number_of(value.substr(0, space));
  const auto period =
      number_of(space == std::string_view::npos ? std::string_view() : value.substr(space + 1));
  if (!quota || !period || *period == 0) return fmt::format("cpu {}", value);
  return fmt::format("cpu {} %", *quota * 100 / *period);
}

std::string memory_text(const char* what, const std::string& value) {
  const auto bytes = number_of(value);
  return fmt::format("{} {}", what, bytes ? to_string(Bytes{*bytes}) : value);
}

}  // namespace

bool is_cgroup_folder(const std::string& path) {
  return path.starts_with('/') && path.find("/../") == std::string::npos &&
         !path.ends_with("/..") && path.find('\n') == std::string::npos;
}

std::string ShareCgroup::group() const { return fmt::format("{}/{}", base, kVmsGroup); }

std::string LimitDevice::line() const {
  std::string text = device;
  for (const Limit& limit : kLimits) {
    const auto& value = this->*limit.member;
    text += fmt::format(" {}={}", limit.io_max, value ? std::to_string(*value) : "max");
  }
  return text;
}

std::string LimitDevice::no_limit() const { return LimitDevice{.device = device}.line(); }

std::string describe(const ShareCgroup& action) {
  if (action.controllers.empty()) return action.group();
  return fmt::format("{}: {}", action.group(), fmt::join(action.controllers, ", "));
}

std::string describe(const CreateCgroup& action) {
  std::string text = action.group;
  const char* separator = ": ";
  for (const auto& [file, value] : action.settings) {
    text += separator + setting_text(file, value);
    separator = ", ";
  }
  return text;
}

std::string describe(const LimitDevice& action) {
  std::string text = fmt::format("{} on device {}", action.disk, action.device);
  const char* separator = ": ";
  for (const Limit& limit : kLimits) {
    const auto& value = action.*limit.member;
    if (!value) continue;
    const bool is_bytes = std::string_view(limit.key).ends_with("bps");
    text +=
        fmt::format("{}{} {} a second", separator,
                    is_bytes ? to_string(Bytes{*value}) : std::to_string(*value), limit.meaning);
    separator = ", ";
  }
  return text;
}

std::string setting_text(const std::string& file, const std::string& value) {
  if (file == "cpu.max") return cpu_text(value);
  if (file == "cpu.weight") return "cpu weight " + value;
  if (file == "memory.max") return memory_text("memory", value);
  if (file == "memory.high") return memory_text("memory reclaimed from", value);
  if (file == "pids.max") return value + " tasks";
  if (file == "io.weight") return "io weight " + value.substr(value.rfind(' ') + 1);
  return file + " " + value;
}

Json to_json(const ShareCgroup& action) {
  return {{"base", action.base}, {"controllers", action.controllers}};
}

Json to_json(const CreateCgroup& action) {
  Json settings = Json::array();
  for (const auto& [file, value] : action.settings) {
    settings.push_back({{"file", file}, {"value", value}});
  }
  return {{"group", action.group}, {"settings", std::move(settings)}};
}

Json to_json(const LimitDevice& action) {
  Json json = {{"group", action.group}, {"disk", action.disk}, {"device", action.device}};
  for (const Limit& limit : kLimits) {
    if (const auto& value = action.*limit.member) json[limit.key] = *value;
  }
  return json;
}

Json to_json(const CgroupOldState& old) {
  return {{"existed", old.existed}, {"handed_on", old.handed_on}};
}

void read_action(FactsReader& reader, ShareCgroup& action) {
  action.base = read_folder(reader, "base");
  action.controllers = read_controllers(reader, "controllers");
}

void read_action(FactsReader& reader, CreateCgroup& action) {
  action.group = read_folder(reader, "group");
  for (FactsReader& setting : reader.array("settings")) {
    const std::string file = setting.string("file");
    const std::string value = setting.string("value");
    if (!is_setting(file, value)) setting.refuse("file", quote(file) + " is no setting");
    action.settings[file] = value;
    setting.finish();
  }
}

void read_action(FactsReader& reader, LimitDevice& action) {
  action.group = read_folder(reader, "group");
  action.disk = reader.string("disk");
  action.device = reader.string("device");
  const std::size_t colon = action.device.find(':');
  const bool is_device = colon != std::string::npos && number_of(action.device.substr(0, colon)) &&
                         number_of(action.device.substr(colon + 1));
  if (!is_device) reader.refuse("device", quote(action.device) + " is no MAJOR:MINOR");
  for (const Limit& limit : kLimits) {
    if (reader.has(limit.key)) action.*limit.member = reader.count(limit.key, kMost);
  }
}

CgroupOldState read_cgroup_old_state(FactsReader reader) {
  CgroupOldState old;
  old.existed = reader.boolean("existed");
  old.handed_on = read_controllers(reader, "handed_on");
  reader.finish();
  return old;
}

}  // namespace vmrig
