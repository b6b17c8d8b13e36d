// A network card and its host end. Built: user networking (slirp inside QEMU), and VFs of the
// host's SR-IOV devices.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/description.hpp"
#include "devices/vf.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

enum class NicType { kUser, kVf };
enum class NicModel { kVirtio, kE1000e, kE1000 };

std::vector<std::string_view> enum_names(NicType);
std::vector<std::string_view> enum_names(NicModel);

struct NicConfig {
  std::string id;
  NicType type = NicType::kUser;
  NicModel model = NicModel::kVirtio;
  std::optional<std::string> mac;    // by the VM's name and the id when not given
  std::vector<std::string> forward;  // "tcp:127.0.0.1:2222-:22"
  bool isolated = false;             // the guest reaches neither the host nor the outside
  std::optional<int> mtu;            // what the guest is told (host_mtu)
  VfConfig vf;                       // with type vf
};

void describe(Fields& fields, NicConfig& nic);

// A unicast, locally administered address that is the same for the same VM name and id, in
// QEMU's customary 52:54:00 block.
std::string stable_mac(std::string_view vm_name, std::string_view nic_id);

// Of any type but vf, which is a VFIO device: see describe_vfio.
DeviceDescription describe_nic(const NicConfig& nic, std::string origin, std::string_view vm_name,
                               int bootindex);

}  // namespace vmrig
