#include "launcher/config/substitute.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace vmrig {
namespace {

struct Substitution {
  const std::map<std::string, std::string>& environment;
  const JsonDocument& document;
  std::vector<Diagnostic>& diagnostics;

  void fault(const std::string& path, std::string message, std::string mend) const {
    diagnostics.push_back({.path = path,
                           .message = std::move(message),
                           .mend = std::move(mend),
                           .file = document.file(),
                           .line = document.line(path)});
  }

  std::string expand(const std::string& text, const std::string& path) const {
    std::string out;
    std::size_t at = 0;
    while (at < text.size()) {
      if (text.compare(at, 3, "$${") == 0) {
        out += "${";
        at += 3;
        continue;
      }
      if (text.compare(at, 2, "${") != 0) {
        out += text[at++];
        continue;
      }
      const std::size_t end = text.find('}', at);
      if (end == std::string::npos) {
        fault(path, "\"${\" has no \"}\"", "write \"$${\" for the two characters themselves");
        return text;
      }
      const std::string name = text.substr(at + 2, end - at - 2);
      auto found = environment.find(name);
      if (found == environment.end()) {
        fault(path, fmt::format("the environment variable {} is not set", quote(name)),
              fmt::format("export {}=…", name));
      } else {
        out += found->second;
      }
      at = end + 1;
    }
    return out;
  }

  void walk(Json& value, const std::string& path) const {
    if (value.is_string()) {
      const std::string& text = value.get_ref<const std::string&>();
      if (text.find('$') != std::string::npos) value = expand(text, path);
    } else if (value.is_array()) {
      for (std::size_t i = 0; i < value.size(); ++i) {
        walk(value[i], fmt::format("{}[{}]", path, i));
      }
    } else if (value.is_object()) {
      for (auto& [key, member] : value.items()) {
        walk(member, path.empty() ? key : path + "." + key);
      }
    }
  }
};

// One step of a setting's path: a member's name or a list's index.
struct Step {
  std::string name;
  std::size_t index = 0;
  bool is_index = false;
};

bool parse_path(std::string_view text, std::vector<Step>& steps) {
  while (!text.empty()) {
    if (text.front() == '[') {
      const std::size_t end = text.find(']');
      if (end == std::string_view::npos) return false;
      Step step{.name = {}, .index = 0, .is_index = true};
      const char* last = text.data() + end;
      auto [rest, error] = std::from_chars(text.data() + 1, last, step.index);
      if (error != std::errc{} || rest != last || step.index > 1023) return false;
      steps.push_back(step);
      text.remove_prefix(end + 1);
      if (!text.empty() && text.front() == '.') text.remove_prefix(1);
      continue;
    }
    const std::size_t end = text.find_first_of(".[");
    const std::string_view name = text.substr(0, end);
    if (name.empty()) return false;
    steps.push_back({.name = std::string(name), .index = 0, .is_index = false});
    if (end == std::string_view::npos) break;
    text.remove_prefix(text[end] == '.' ? end + 1 : end);
    if (text.empty()) return false;
  }
  return !steps.empty();
}

// The value that the step leads to, made when absent. Null: it leads nowhere.
Json* follow(Json& from, const Step& step, std::string& path) {
  if (step.is_index) {
    if (from.is_null()) from = Json::array();
    if (!from.is_array() || step.index > from.size()) return nullptr;
    if (step.index == from.size()) from.push_back(nullptr);
    path += fmt::format("[{}]", step.index);
    return &from[step.index];
  }
  if (from.is_array()) {
    for (std::size_t i = 0; i < from.size(); ++i) {
      if (from[i].is_object() && from[i].value("id", Json()) == Json(step.name)) {
        path += fmt::format("[{}]", i);
        return &from[i];
      }
    }
    return nullptr;
  }
  if (from.is_null()) from = Json::object();
  if (!from.is_object()) return nullptr;
  path += path.empty() ? step.name : "." + step.name;
  return &from[step.name];
}

}  // namespace

void substitute_environment(JsonDocument& document,
                            const std::map<std::string, std::string>& environment,
                            std::vector<Diagnostic>& diagnostics) {
  Substitution{environment, document, diagnostics}.walk(document.root(), "");
}

void apply_setting(JsonDocument& document, const std::string& setting,
                   std::vector<Diagnostic>& diagnostics) {
  const std::size_t equals = setting.find('=');
  std::vector<Step> steps;
  if (equals == std::string::npos || !parse_path(setting.substr(0, equals), steps)) {
    diagnostics.push_back({.path = {},
                           .message = fmt::format("--set {} is not PATH=VALUE", quote(setting)),
                           .mend = "--set memory.size=4GiB, --set disks.disk0.path=/images/a.qcow2",
                           .file = {},
                           .line = 0});
    return;
  }
  std::string path;
  Json* at = &document.root();
  for (const Step& step : steps) {
    at = follow(*at, step, path);
    if (at == nullptr) {
      diagnostics.push_back({.path = {},
                             .message = fmt::format("--set {}: there is no {}", quote(setting),
                                                    quote(setting.substr(0, equals))),
                             .mend = {},
                             .file = {},
                             .line = 0});
      return;
    }
  }
  const std::string text = setting.substr(equals + 1);
  constexpr bool kNoExceptions = false;
  Json value = Json::parse(text, nullptr, kNoExceptions);
  *at = value.is_discarded() ? Json(text) : std::move(value);
  document.set_source(path, "--set");
}

}  // namespace vmrig
