// The effects behind actions on access to files.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/sysfs.hpp"

namespace vmrig {

// What stands at a path, and what a user has there.
struct AccessNow {
  bool has_acl = false;                      // the file system has POSIX ACLs
  std::optional<unsigned> permissions = {};  // of the user's entry; none: it has no entry
  unsigned owner = 0;
  bool survives_reboot = false;  // the file system is on a disk
};

enum class SocketState { kNothing, kDead, kListening, kNoSocket };

// A seam as HostControl is. Every function throws vmrig::Error naming the path.
class AccessControl {
 public:
  virtual ~AccessControl() = default;

  // The node of the device's VFIO group; empty: there is none now.
  virtual std::string vfio_group_node(const PciAddress& device) = 0;

  // nullopt: there is nothing.
  virtual std::optional<AccessNow> read(const std::string& path, unsigned uid) = 0;
  // Sets the user's entry in the file's ACL, or takes it away.
  virtual void set_entry(const std::string& path, unsigned uid,
                         std::optional<unsigned> permissions) = 0;
  virtual void set_owner(const std::string& path, unsigned uid) = 0;

  virtual SocketState socket_state(const std::string& path) = 0;
  virtual void remove_socket(const std::string& path) = 0;
};

// This host. VMs change the ACL of one node at once (/dev/kvm), and an ACL is written whole: one
// lock for all processes of the host is held around each change.
class LinuxAccess final : public AccessControl {
 public:
  static constexpr const char* kLockFile = "/run/vmrig-access.lock";

  explicit LinuxAccess(Sysfs sysfs = Sysfs(), std::string lock_file = kLockFile)
      : sysfs_(std::move(sysfs)), lock_file_(std::move(lock_file)) {}

  std::string vfio_group_node(const PciAddress& device) override;
  std::optional<AccessNow> read(const std::string& path, unsigned uid) override;
  void set_entry(const std::string& path, unsigned uid,
                 std::optional<unsigned> permissions) override;
  void set_owner(const std::string& path, unsigned uid) override;
  SocketState socket_state(const std::string& path) override;
  void remove_socket(const std::string& path) override;

 private:
  Sysfs sysfs_;
  std::string lock_file_;
};

}  // namespace vmrig
