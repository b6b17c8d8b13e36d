#include "launcher/host_wishes.hpp"

#include <algorithm>

namespace vmrig {
namespace {

Need need_of_kvm(AccelChoice accel) {
  switch (accel) {
    case AccelChoice::kKvm:
      return Need::kRequired;
    case AccelChoice::kAuto:
      return Need::kUseful;  // TCG is taken, and is slow
    case AccelChoice::kTcg:
      return Need::kNone;
  }
  return Need::kUseful;
}

Need need_of_vhost(const NicConfig& nic, Profile profile) {
  const bool has_tap = nic.type == NicType::kTap || nic.type == NicType::kMacvtap;
  if (!has_tap || nic.model != NicModel::kVirtio || nic.vhost == false) return Need::kNone;
  return nic.vhost.value_or(profile == Profile::kNfv) ? Need::kRequired : Need::kUseful;
}

HugepageSize hugepages_of(const VmConfig& config, const Plan* plan) {
  if (plan != nullptr) return plan->hugepages;
  const bool is_nfv = config.profile == Profile::kNfv;
  return config.memory.hugepages.value_or(is_nfv ? HugepageSize::k1GiB : HugepageSize::kNone);
}

}  // namespace

HostWishes wishes_of(const VmConfig& config, const Plan* plan) {
  HostWishes wishes;
  wishes.kvm = need_of_kvm(config.machine.accel);
  wishes.vfio = wants_pci_devices(config) ? Need::kRequired : Need::kNone;
  wishes.vhost = Need::kNone;
  for (const NicConfig& nic : config.nics) {
    wishes.vhost = std::max(wishes.vhost, need_of_vhost(nic, config.profile));
  }
  wishes.network = wants_net_devices(config) || wants_pci_devices(config);
  wishes.pinned = config.cpu.pin.mode != Pinning::Mode::kNone;
  wishes.vcpus = config.cpu.vcpus;
  wishes.locked = config.memory.lock || wants_pci_devices(config);
  wishes.merged = config.memory.merge;
  const HugepageSize hugepages = hugepages_of(config, plan);
  wishes.hugepages = hugepages != HugepageSize::kNone;
  wishes.page_size = page_size_of(hugepages);
  wishes.memory = config.memory.size;
  wishes.hugetlbfs = config.memory.backing == MemoryBacking::kHugetlbfs;
  wishes.limits = wants_cgroup(config);
  if (config.memory.node_mode == Pinning::Mode::kList) wishes.node = config.memory.node;
  if (plan == nullptr) return wishes;
  wishes.node = plan->placement.node;
  for (const CpuSet& vcpu : plan->placement.vcpus) wishes.cpus = wishes.cpus | vcpu;
  return wishes;
}

}  // namespace vmrig
