// Access to a file of the host's for a user, as data.
#pragma once

#include <optional>
#include <string>

#include "hostcfg/base/json.hpp"
#include "hostcfg/base/pci_address.hpp"

namespace vmrig {

class FactsReader;

// Lets the user that QEMU runs as use a device node, a socket or a folder, beside all who may
// already: by an entry of its own in the file's ACL. Where the file system has none, by making the
// file the user's. Undone as far as it is ours: other users' entries come and go meanwhile.
struct GrantAccess {
  enum class Kind {
    kUse,   // read and write; of a socket: connect
    kPass,  // a folder, on the way to something in it
  };
  std::string device = {};             // id of the VM's device that needs it; empty: the VM itself
  std::string path = {};               // absolute; empty with `pci`
  std::optional<PciAddress> pci = {};  // the node of its VFIO group, which comes with the driver
  unsigned uid = 0;
  Kind kind = Kind::kUse;
  bool comes_later = false;  // a socket that somebody else makes, perhaps anew: none is no fault
  // The user and the file are other VMs', too: done and undone under the state folder's lock.
  bool is_shared = false;
  bool operator==(const GrantAccess&) const = default;
};

// A place where QEMU is to listen for others: nothing stands there before, and nothing is left.
struct MakeSocket {
  std::string device = {};  // id of the VM's device that listens
  std::string path = {};    // absolute
  bool operator==(const MakeSocket&) const = default;
};

struct AccessOldState {
  enum class By { kAcl, kOwner };
  std::string path = {};  // that was meant; empty: there was none yet
  By by = By::kAcl;
  std::optional<unsigned> permissions = {};  // by ACL: the user's before; none: it had no entry
  unsigned owner = 0;                        // by owner: the one before
  bool survives_reboot = false;              // the file is on a disk
  bool empty() const { return *this == AccessOldState{}; }
  bool operator==(const AccessOldState&) const = default;
};

// Lines as describe_action (hostcfg/host_action.hpp) has them.
std::string describe(const GrantAccess& action);  // "/dev/kvm for user 1900000123"
std::string describe(const MakeSocket& action);

// Without their kind. The readers throw vmrig::Error naming the key.
Json to_json(const GrantAccess& action);
Json to_json(const MakeSocket& action);
Json to_json(const AccessOldState& old);
void read_action(FactsReader& reader, GrantAccess& action);
void read_action(FactsReader& reader, MakeSocket& action);
AccessOldState read_access_old_state(FactsReader reader);

}  // namespace vmrig
