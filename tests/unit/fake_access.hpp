// Files with ACLs and owners that are variables.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "hostcfg/access_control.hpp"
#include "hostcfg/base/error.hpp"
#include "hostcfg/checkpoint.hpp"

namespace vmrig::testing {

struct FakeFile {
  bool has_acl = true;
  std::map<unsigned, unsigned> entries = {};  // permissions by uid
  unsigned owner = 0;
  bool survives_reboot = false;
  bool operator==(const FakeFile&) const = default;
};

class FakeAccess final : public AccessControl {
 public:
  std::map<std::string, FakeFile> files;
  std::map<PciAddress, std::string> groups;  // nodes
  std::map<std::string, SocketState> sockets;

  std::string vfio_group_node(const PciAddress& device) override {
    const auto found = groups.find(device);
    return found == groups.end() ? std::string() : found->second;
  }
  std::optional<AccessNow> read(const std::string& path, unsigned uid) override {
    const auto found = files.find(path);
    if (found == files.end()) return std::nullopt;
    const FakeFile& file = found->second;
    AccessNow now{
        .has_acl = file.has_acl, .owner = file.owner, .survives_reboot = file.survives_reboot};
    if (const auto entry = file.entries.find(uid); entry != file.entries.end()) {
      now.permissions = entry->second;
    }
    return now;
  }
  void set_entry(const std::string& path, unsigned uid,
                 std::optional<unsigned> permissions) override {
    checkpoint("before");
    FakeFile& file = files.at(path);
    if (permissions) {
      file.entries[uid] = *permissions;
    } else {
      file.entries.erase(uid);
    }
    checkpoint("after");
  }
  void set_owner(const std::string& path, unsigned uid) override {
    checkpoint("before");
    files.at(path).owner = uid;
    checkpoint("after");
  }
  SocketState socket_state(const std::string& path) override {
    const auto found = sockets.find(path);
    return found == sockets.end() ? SocketState::kNothing : found->second;
  }
  void remove_socket(const std::string& path) override {
    checkpoint("before");
    sockets.erase(path);
    checkpoint("after");
  }
};

}  // namespace vmrig::testing
