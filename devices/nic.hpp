// A network card of the guest, and its end on the host.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/nic_host.hpp"
#include "devices/vf.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

enum class NicType { kUser, kVf, kTap, kMacvtap, kVhostUser, kPasst, kNone };
enum class NicModel { kVirtio, kE1000e, kE1000 };
// Of a VF the PF is told auto, enable or disable; of all others the guest sees up or down.
enum class NicLink { kAuto, kEnable, kDisable, kUp, kDown };

std::vector<std::string_view> enum_names(NicType);
std::vector<std::string_view> enum_names(NicModel);
std::vector<std::string_view> enum_names(NicLink);

struct NicConfig {
  std::string id;
  NicType type = NicType::kUser;
  NicModel model = NicModel::kVirtio;
  std::optional<std::string> mac;     // by the VM's name and the id when not given
  std::vector<std::string> forward;   // "tcp:127.0.0.1:2222-:22"
  bool isolated = false;              // the guest reaches neither the host nor the outside
  std::optional<int> mtu;             // of the host's end, and what the guest is told (host_mtu)
  std::optional<NicLink> link;        // at the start
  std::optional<int> vlan;            // 0: none
  std::optional<std::string> ifname;  // of the tap or macvtap; see interface_name()
  std::optional<int> queues;          // pairs; 1 when not given, or by the nfv profile
  std::optional<bool> vhost;          // in the kernel; where it can be when not given
  std::optional<int> rx_queue_size;   // descriptors
  std::optional<int> tx_queue_size;
  bool packed = false;   // packed virtqueues
  bool offloads = true;  // checksums and segmentation are left to who comes next
  std::optional<RateConfig> rate;
  TapConfig tap;
  MacvtapConfig macvtap;
  VhostUserConfig vhost_user;
  VfConfig vf;
};

void describe(Fields& fields, NicConfig& nic);

// A unicast, locally administered address that is the same for the same VM name and id, in
// QEMU's customary 52:54:00 block.
std::string stable_mac(std::string_view vm_name, std::string_view nic_id);

// The NIC's address, in lower case.
std::string mac_of(const NicConfig& nic, std::string_view vm_name);

// The name of the host's network device that is the NIC's end: the one that the config gives, the
// existing tap, or one that is the same for the same VM name and id, and at most 15 bytes. Empty
// for types that have none.
std::string interface_name(const NicConfig& nic, std::string_view vm_name);

// Whether others can meet it there. User networks are islands: the same address on two of them
// meets nobody.
bool has_shared_network(const NicConfig& nic);

// Where passt may be installed.
const std::vector<std::string>& passt_places();

// Whether vmrig makes that device, and so may take it away.
bool makes_interface(const NicConfig& nic);

}  // namespace vmrig
