// Which VF of an SR-IOV device a NIC is, and what its PF is to keep about it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/pci_address.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

enum class VlanProtocol { k8021q, k8021ad };

std::vector<std::string_view> enum_names(VlanProtocol);

struct VfConfig {
  std::vector<std::string> pfs;       // a pool: network devices by name, or PCI addresses
  std::optional<int> index;           // this VF of the one PF
  std::vector<PciAddress> addresses;  // one of these VFs; both empty: any free one of the pool
  std::optional<int> create;          // VFs to make on a PF of the pool that has none
  std::optional<int> qos;
  std::optional<VlanProtocol> vlan_proto;
  std::optional<bool> trust;
  std::optional<bool> spoofchk;
  std::optional<std::string> min_rate;  // "100Mbit"
  std::optional<std::string> max_rate;
};

// The keys, as members of the NIC that they belong to. On one that is no VF none of them may be
// set. `vlan` is the NIC's own.
enum class VfKeys { kOfVf, kOfNone };
void describe_vf(Fields& fields, VfConfig& vf, VfKeys keys, const std::optional<int>& vlan);

// "100Mbit" or "10Gbit" in Mbit/s. Throws std::invalid_argument with a text for the user.
int parse_rate_mbit(std::string_view text);

}  // namespace vmrig
