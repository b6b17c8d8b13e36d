#include "qmp/schema.hpp"

#include <utility>

#include "qmp/error.hpp"

namespace qmp {
namespace {

const std::string* text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

/// The element of array `object[list]` whose `key` is `value`.
const Json* element(const Json& object, const char* list, const char* key, std::string_view value) {
  const auto found = object.find(list);
  if (found == object.end() || !found->is_array()) return nullptr;
  for (const Json& each : *found) {
    if (!each.is_object()) continue;
    const std::string* text = text_of(each, key);
    if (text != nullptr && *text == value) return &each;
  }
  return nullptr;
}

bool lists_feature(const Json& object, std::string_view feature) {
  const auto found = object.find("features");
  if (found == object.end() || !found->is_array()) return false;
  for (const Json& each : *found) {
    const auto* text = each.get_ptr<const std::string*>();
    if (text != nullptr && *text == feature) return true;
  }
  return false;
}

}  // namespace

Schema::Schema(Json reply) : entries_(std::move(reply)) {
  if (!entries_.is_array()) throw Error(ErrorKind::protocol, "a QMP schema is a JSON array");
  by_name_.reserve(entries_.size());
  for (const Json& entry : entries_) {
    const std::string* name = entry.is_object() ? text_of(entry, "name") : nullptr;
    if (name == nullptr || text_of(entry, "meta-type") == nullptr) {
      throw Error(ErrorKind::protocol, "an entry of the QMP schema lacks name or meta-type");
    }
    by_name_.emplace(*name, &entry);
  }
}

const Json* Schema::find(std::string_view name, std::string_view meta_type) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return nullptr;
  return *text_of(*found->second, "meta-type") == meta_type ? found->second : nullptr;
}

const Json* Schema::type_named(const Json& name) const {
  const auto* text = name.get_ptr<const std::string*>();
  if (text == nullptr) return nullptr;
  const auto found = by_name_.find(*text);
  return found == by_name_.end() ? nullptr : found->second;
}

/// What a step may go into: arrays and alternatives are passed through. The bound is against a
/// malicious circle.
const Json* Schema::inner(const Json* type) const {
  for (int i = 0; i < 8 && type != nullptr; ++i) {
    const std::string& meta_type = *text_of(*type, "meta-type");
    if (meta_type == "array") {
      type = type->contains("element-type") ? type_named(type->at("element-type")) : nullptr;
    } else if (meta_type == "alternate") {
      const Json* object = nullptr;
      const auto members = type->find("members");
      if (members == type->end() || !members->is_array()) return nullptr;
      for (const Json& each : *members) {
        if (!each.is_object() || !each.contains("type")) continue;
        const Json* choice = type_named(each.at("type"));
        if (choice != nullptr && *text_of(*choice, "meta-type") == "object") object = choice;
      }
      type = object;
    } else {
      break;
    }
  }
  return type;
}

const Json* Schema::argument_type(std::string_view command) const {
  const Json* entry = find(command, "command");
  if (entry == nullptr) entry = find(command, "event");
  if (entry == nullptr || !entry->contains("arg-type")) return nullptr;
  return type_named(entry->at("arg-type"));
}

const Json* Schema::walk(std::string_view command, const Path& path,
                         const Json** last_member) const {
  if (last_member != nullptr) *last_member = nullptr;
  const Json* type = argument_type(command);
  for (const std::string_view step : path) {
    type = inner(type);
    if (type == nullptr) return nullptr;
    const bool variant = step.starts_with('+');
    const Json* next = variant ? element(*type, "variants", "case", step.substr(1))
                               : element(*type, "members", "name", step);
    if (next == nullptr || !next->contains("type")) return nullptr;
    if (last_member != nullptr) *last_member = variant ? nullptr : next;
    type = type_named(next->at("type"));
  }
  return type;
}

bool Schema::has_command(std::string_view command) const {
  return find(command, "command") != nullptr;
}

bool Schema::has_event(std::string_view event) const { return find(event, "event") != nullptr; }

bool Schema::has_feature(std::string_view command, std::string_view feature) const {
  const Json* entry = find(command, "command");
  return entry != nullptr && lists_feature(*entry, feature);
}

bool Schema::command_arg_has_member(std::string_view command, std::string_view member) const {
  const Json* type = argument_type(command);
  return type != nullptr && element(*type, "members", "name", member) != nullptr;
}

bool Schema::has_path(std::string_view command, const Path& path) const {
  return walk(command, path, nullptr) != nullptr;
}

bool Schema::member_has_feature(std::string_view command, const Path& path,
                                std::string_view feature) const {
  const Json* member = nullptr;
  walk(command, path, &member);
  return member != nullptr && lists_feature(*member, feature);
}

std::set<std::string> Schema::enum_values(std::string_view command, const Path& path) const {
  std::set<std::string> values;
  const Json* type = walk(command, path, nullptr);
  if (type == nullptr || *text_of(*type, "meta-type") != "enum") return values;
  // "members" since 6.2; "values" before, and still there for compatibility.
  if (const auto members = type->find("members"); members != type->end() && members->is_array()) {
    for (const Json& each : *members) {
      if (!each.is_object()) continue;
      if (const std::string* name = text_of(each, "name")) values.insert(*name);
    }
  } else if (const auto list = type->find("values"); list != type->end() && list->is_array()) {
    for (const Json& each : *list) {
      if (const auto* name = each.get_ptr<const std::string*>()) values.insert(*name);
    }
  }
  return values;
}

std::set<std::string> Schema::member_names(std::string_view command, const Path& path) const {
  std::set<std::string> names;
  const Json* type = inner(walk(command, path, nullptr));
  if (type == nullptr) return names;
  const auto members = type->find("members");
  if (members == type->end() || !members->is_array()) return names;
  if (*text_of(*type, "meta-type") != "object") return names;
  for (const Json& each : *members) {
    if (!each.is_object()) continue;
    if (const std::string* name = text_of(each, "name")) names.insert(*name);
  }
  return names;
}

std::string Schema::tag(std::string_view command, const Path& path) const {
  const Json* type = inner(walk(command, path, nullptr));
  const std::string* name = type == nullptr ? nullptr : text_of(*type, "tag");
  return name == nullptr ? std::string() : *name;
}

bool Schema::has_enum_value(std::string_view command, const Path& path,
                            std::string_view value) const {
  return enum_values(command, path).contains(std::string(value));
}

std::set<std::string> Schema::commands() const {
  std::set<std::string> names;
  for (const auto& [name, entry] : by_name_) {
    if (*text_of(*entry, "meta-type") == "command") names.emplace(name);
  }
  return names;
}

std::set<std::string> Schema::events() const {
  std::set<std::string> names;
  for (const auto& [name, entry] : by_name_) {
    if (*text_of(*entry, "meta-type") == "event") names.emplace(name);
  }
  return names;
}

}  // namespace qmp
