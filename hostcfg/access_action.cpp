#include "hostcfg/access_action.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>

#include "hostcfg/base/error.hpp"
#include "hostcfg/facts_reader.hpp"

namespace vmrig {
namespace {

constexpr std::uint64_t kMaxUid = 0xfffffffe;
constexpr std::uint64_t kMaxPermissions = 7;

std::string read_path(FactsReader& reader, const char* key) {
  std::string path = reader.string(key);
  if (path.empty() || path.front() != '/') reader.refuse(key, quote(path) + " is no absolute path");
  return path;
}

bool flag(FactsReader& reader, const char* key) { return reader.has(key) && reader.boolean(key); }

}  // namespace

std::string describe(const GrantAccess& action) {
  const std::string what =
      action.pci ? fmt::format("the VFIO group of {}", action.pci->to_string()) : action.path;
  return fmt::format("{}{} for user {}", action.kind == GrantAccess::Kind::kPass ? "through " : "",
                     what, action.uid);
}

std::string describe(const MakeSocket& action) { return action.path; }

Json to_json(const GrantAccess& action) {
  Json json = {{"uid", action.uid}};
  if (!action.device.empty()) json["device"] = action.device;
  if (action.pci) {
    json["pci"] = action.pci->to_string();
  } else {
    json["path"] = action.path;
  }
  if (action.kind == GrantAccess::Kind::kPass) json["pass"] = true;
  if (action.comes_later) json["comes_later"] = true;
  if (action.is_shared) json["shared"] = true;
  return json;
}

Json to_json(const MakeSocket& action) {
  return {{"device", action.device}, {"path", action.path}};
}

Json to_json(const AccessOldState& old) {
  Json json = {{"path", old.path}};
  if (old.by == AccessOldState::By::kOwner) json["owner"] = old.owner;
  if (old.permissions) json["permissions"] = *old.permissions;
  if (old.survives_reboot) json["survives_reboot"] = true;
  return json;
}

void read_action(FactsReader& reader, GrantAccess& action) {
  action.uid = static_cast<unsigned>(reader.count("uid", kMaxUid));
  if (reader.has("device")) action.device = reader.string("device");
  if (reader.has("pci")) {
    action.pci = reader.pci_address("pci");
  } else {
    action.path = read_path(reader, "path");
  }
  if (flag(reader, "pass")) action.kind = GrantAccess::Kind::kPass;
  action.comes_later = flag(reader, "comes_later");
  action.is_shared = flag(reader, "shared");
}

void read_action(FactsReader& reader, MakeSocket& action) {
  action.device = reader.string("device");
  action.path = read_path(reader, "path");
}

AccessOldState read_access_old_state(FactsReader reader) {
  AccessOldState old;
  if (const std::string path = reader.string("path"); !path.empty()) {
    old.path = read_path(reader, "path");
  }
  if (reader.has("owner")) {
    old.by = AccessOldState::By::kOwner;
    old.owner = static_cast<unsigned>(reader.count("owner", kMaxUid));
  }
  if (reader.has("permissions")) {
    old.permissions = static_cast<unsigned>(reader.count("permissions", kMaxPermissions));
  }
  old.survives_reboot = flag(reader, "survives_reboot");
  reader.finish();
  return old;
}

}  // namespace vmrig
