#include "launcher/passthrough.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <utility>

#include "hostcfg/iommu_group.hpp"
#include "launcher/preflight.hpp"

namespace vmrig {
namespace {

constexpr int kFunctionsPerBus = 256;

// A routing id counts over buses: VFs may lie on the buses after their PF's.
// Source: PCI Express Base Specification, "VF Discovery"; linux drivers/pci/iov.c.
std::optional<PciAddress> future_vf(const PciDeviceFacts& pf, int index) {
  if (pf.vf_offset <= 0 || (index > 0 && pf.vf_stride <= 0)) return std::nullopt;
  const PciAddress& at = pf.address;
  const int id =
      at.bus * kFunctionsPerBus + at.device * 8 + at.function + pf.vf_offset + index * pf.vf_stride;
  if (id >= kFunctionsPerBus * kFunctionsPerBus) return std::nullopt;
  return PciAddress{.domain = at.domain,
                    .bus = static_cast<std::uint8_t>(id / kFunctionsPerBus),
                    .device = static_cast<std::uint8_t>(id % kFunctionsPerBus / 8),
                    .function = static_cast<std::uint8_t>(id % 8)};
}

std::string joined(const std::vector<std::string>& texts, std::string_view separator) {
  return fmt::format("{}", fmt::join(texts, separator));
}

}  // namespace

std::string device_text(const PassedDevice& device) {
  if (!device.pf) return device.address.to_string();
  return fmt::format("VF {} of {}", device.address.to_string(), device.pf_name);
}

const Lease* holder_of(const PciAddress& device, const std::vector<Lease>& leases) {
  for (const Lease& lease : leases) {
    if (std::find(lease.pci.begin(), lease.pci.end(), device) != lease.pci.end()) return &lease;
  }
  return nullptr;
}

Passthrough::Passthrough(const PlanInput& input, std::vector<Diagnostic>& findings)
    : input_(input), findings_(findings) {
  for (std::size_t i = 0; i < input.config.nics.size(); ++i) {
    if (input.config.nics[i].type == NicType::kVf) want_vf(input.config.nics[i], i);
  }
  for (std::size_t i = 0; i < input.config.vfio.size(); ++i) {
    want_device(input.config.vfio[i], i);
  }
}

void Passthrough::refuse(std::string text, ExitStatus status, std::string mend) {
  refusals_.push_back({std::move(text), status, std::move(mend)});
}

const PciDeviceFacts* Passthrough::find_pf(const std::string& name) const {
  if (const NetDeviceFacts* net = input_.facts.find_net(name)) {
    return net->pci ? input_.facts.find_pci(*net->pci) : nullptr;
  }
  try {
    return input_.facts.find_pci(PciAddress::parse(name));
  } catch (const std::invalid_argument&) {
    return nullptr;
  }
}

std::string Passthrough::name_of_pf(const PciAddress& pf) const {
  const PciDeviceFacts* device = input_.facts.find_pci(pf);
  return device == nullptr || device->net_devices.empty() ? pf.to_string()
                                                          : device->net_devices.front();
}

PassedDevice Passthrough::passed(const Wanted& wanted, const PciDeviceFacts& device) const {
  return {.id = wanted.id,
          .origin = wanted.origin,
          .address = device.address,
          .pf = device.physical_function,
          .pf_name = device.physical_function ? name_of_pf(*device.physical_function) : "",
          .vf_index = device.vf_index,
          .node = device.numa_node,
          .is_new = false};
}

// Unless somebody needs it.
void Passthrough::add(const PassedDevice& device, bool force, Wanted& wanted) {
  const std::string address = device.address.to_string();
  if (const Lease* holder = holder_of(device.address, input_.leases)) {
    return refuse(fmt::format("{} is held by VM \"{}\"", address, holder->vm), ExitStatus::kBusy,
                  fmt::format("vmrig stop {}", holder->vm));
  }
  const PciDeviceFacts* facts = input_.facts.find_pci(device.address);
  if (facts != nullptr && !facts->in_use.empty() && !force) {
    const bool can_force = wanted.origin.starts_with("vfio");
    return refuse(fmt::format("the host uses {}: {}", address, joined(facts->in_use, ", ")),
                  ExitStatus::kHost,
                  fmt::format("free it first (vmrig vfio list shows devices){}",
                              can_force ? ", or \"force\": true" : ""));
  }
  wanted.candidates.push_back(device);
}

// Nobody can be asked yet where they will be but the PF itself.
void Passthrough::add_future_vfs(const NicConfig& nic, const PciDeviceFacts& pf,
                                 const std::string& name, Wanted& wanted) {
  const int count = *nic.vf.create;
  if (count > pf.total_vfs) {
    return refuse(fmt::format("{} can have {} VFs, {} are wanted", name, pf.total_vfs, count),
                  ExitStatus::kHost, fmt::format("\"create\": {}", pf.total_vfs));
  }
  for (int index = 0; index < count; ++index) {
    if (nic.vf.index && *nic.vf.index != index) continue;
    const std::optional<PciAddress> address = future_vf(pf, index);
    if (!address) {
      return refuse(fmt::format("{} does not tell where its VFs will be", name), ExitStatus::kHost,
                    fmt::format("vmrig sriov set {} --vfs {}", name, count));
    }
    PassedDevice device{.id = wanted.id,
                        .origin = wanted.origin,
                        .address = *address,
                        .pf = pf.address,
                        .pf_name = name,
                        .vf_index = index,
                        .node = pf.numa_node,
                        .is_new = true};
    add(device, false, wanted);
  }
}

void Passthrough::add_vfs_of(const NicConfig& nic, const std::string& given, Wanted& wanted) {
  const PciDeviceFacts* pf = find_pf(given);
  if (pf == nullptr) {
    return refuse(fmt::format("this host has no PF {}", quote(given)), ExitStatus::kHost,
                  "vmrig sriov list");
  }
  const std::string name = name_of_pf(pf->address);
  if (pf->total_vfs == 0) {
    return refuse(fmt::format("{} has no SR-IOV", name), ExitStatus::kHost, "vmrig sriov list");
  }
  if (pf->num_vfs == 0) {
    if (nic.vf.create) return add_future_vfs(nic, *pf, name, wanted);
    return refuse(fmt::format("{} has no VFs, it can have {}", name, pf->total_vfs),
                  ExitStatus::kHost,
                  fmt::format("vmrig sriov set {} --vfs {}, or \"create\": {}", name,
                              std::min(pf->total_vfs, 4), std::min(pf->total_vfs, 4)));
  }
  const std::vector<const PciDeviceFacts*> vfs = input_.facts.vfs_of(pf->address);
  bool found = false;
  for (const PciDeviceFacts* vf : vfs) {
    if (nic.vf.index && *nic.vf.index != vf->vf_index) continue;
    found = true;
    add(passed(wanted, *vf), false, wanted);
  }
  if (!found) {
    refuse(nic.vf.index ? fmt::format("{} has no VF {}, it has 0 to {}", name, *nic.vf.index,
                                      pf->num_vfs - 1)
                        : fmt::format("no VF of {} can be seen", name),
           ExitStatus::kHost, R"("vf": "auto")");
  }
}

void Passthrough::want_vf(const NicConfig& nic, std::size_t index) {
  Wanted wanted{.id = nic.id,
                .origin = fmt::format("nics[{}]", index),
                .path = fmt::format("nics[{}].vf", index),
                .what = {},
                .candidates = {}};
  if (nic.vf.addresses.empty()) {
    wanted.what = fmt::format("VF of {}", joined(nic.vf.pfs, " or "));
    if (nic.vf.index) wanted.what = fmt::format("VF {} of {}", *nic.vf.index, nic.vf.pfs.front());
    for (const std::string& pf : nic.vf.pfs) add_vfs_of(nic, pf, wanted);
    // What is on the host's own driver before what somebody has set aside by hand.
    std::stable_partition(wanted.candidates.begin(), wanted.candidates.end(),
                          [&](const PassedDevice& device) {
                            const PciDeviceFacts* facts = input_.facts.find_pci(device.address);
                            return facts == nullptr || !is_vfio_driver(facts->driver);
                          });
    return finish(std::move(wanted));
  }
  std::vector<std::string> names;
  for (const PciAddress& address : nic.vf.addresses) {
    names.push_back(address.to_string());
    const PciDeviceFacts* device = input_.facts.find_pci(address);
    if (device == nullptr) {
      refuse(fmt::format("this host has no device {}", address.to_string()), ExitStatus::kHost,
             "vmrig sriov list");
    } else if (!device->physical_function) {
      refuse(fmt::format("{} is no VF", address.to_string()), ExitStatus::kHost,
             fmt::format("\"vfio\": [{{\"id\": \"{}\", \"host\": \"{}\"}}]", nic.id,
                         address.to_string()));
    } else if (!nic.vf.pfs.empty() &&
               std::none_of(nic.vf.pfs.begin(), nic.vf.pfs.end(), [&](const std::string& name) {
                 const PciDeviceFacts* pf = find_pf(name);
                 return pf != nullptr && pf->address == *device->physical_function;
               })) {
      refuse(fmt::format("{} is a VF of {}, not of {}", address.to_string(),
                         name_of_pf(*device->physical_function), joined(nic.vf.pfs, " or ")),
             ExitStatus::kHost, "leave \"pf\" out");
    } else {
      add(passed(wanted, *device), false, wanted);
    }
  }
  wanted.what = joined(names, " or ");
  finish(std::move(wanted));
}

void Passthrough::want_device(const VfioConfig& vfio, std::size_t index) {
  Wanted wanted{.id = vfio.id,
                .origin = fmt::format("vfio[{}]", index),
                .path = fmt::format("vfio[{}].host", index),
                .what = {},
                .candidates = {}};
  std::vector<std::string> names;
  for (const PciAddress& address : vfio.hosts) {
    names.push_back(address.to_string());
    const PciDeviceFacts* device = input_.facts.find_pci(address);
    if (device == nullptr) {
      refuse(fmt::format("this host has no device {}", address.to_string()), ExitStatus::kHost,
             "vmrig vfio list");
    } else if (device->reset_methods.empty() && !vfio.force) {
      // It would keep the last guest's state, addresses for its DMA among it.
      refuse(fmt::format("{} can't be reset: what one VM did to it, the next would find",
                         address.to_string()),
             ExitStatus::kHost, R"("force": true)");
    } else if (vfio.driver == VfioDriver::kKeep && !is_vfio_driver(device->driver)) {
      refuse(fmt::format("{} is on {}, which is no VFIO driver to keep", address.to_string(),
                         device->driver.empty() ? "no driver" : device->driver),
             ExitStatus::kHost, R"("driver": "vfio-pci")");
    } else {
      add(passed(wanted, *device), vfio.force, wanted);
    }
  }
  wanted.what = joined(names, " or ");
  finish(std::move(wanted));
}

void Passthrough::finish(Wanted wanted) {
  const std::vector<Refusal> refusals = std::exchange(refusals_, {});
  if (!wanted.candidates.empty()) {
    wanted_.push_back(std::move(wanted));
    return;
  }
  std::vector<std::string> texts;
  const Refusal* chief = nullptr;  // what another VM holds may come free
  for (const Refusal& refusal : refusals) {
    texts.push_back(refusal.text);
    if (chief == nullptr ||
        (refusal.status == ExitStatus::kBusy && chief->status != refusal.status))
      chief = &refusal;
  }
  if (chief == nullptr) return;
  std::string message = joined(texts, ", ");
  if (texts.size() > 1) message = fmt::format("no {} is free: {}", wanted.what, message);
  findings_.push_back(
      finding(Severity::kProblem, wanted.path, std::move(message), chief->mend, chief->status));
}

std::vector<NodeWish> Passthrough::node_wishes() const {
  std::vector<NodeWish> wishes;
  std::set<PciAddress> promised;  // two that want a VF of one PF need two there
  for (const Wanted& wanted : wanted_) {
    NodeWish wish{.there = {}, .lack = "no " + wanted.what};
    for (const PassedDevice& device : wanted.candidates) {
      if (device.node < 0 || promised.count(device.address) != 0) continue;
      const bool is_first =
          wish.there.try_emplace(device.node, device_text(device) + " is there").second;
      if (is_first) promised.insert(device.address);
    }
    if (!wish.there.empty()) wishes.push_back(std::move(wish));
  }
  return wishes;
}

std::vector<PassedDevice> Passthrough::choose(std::optional<int> node) {
  // Who has the fewest to choose from goes first, so that no "auto" takes what another names.
  std::vector<std::size_t> order(wanted_.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [this](std::size_t a, std::size_t b) {
    return wanted_[a].candidates.size() < wanted_[b].candidates.size();
  });
  std::set<PciAddress> taken;
  std::vector<std::optional<PassedDevice>> chosen(wanted_.size());
  for (const std::size_t place : order) {
    const Wanted& wanted = wanted_[place];
    const PassedDevice* best = nullptr;
    for (const PassedDevice& device : wanted.candidates) {
      if (taken.count(device.address) != 0) continue;
      const bool near = node && device.node == *node;
      if (best == nullptr || (near && best->node != *node)) best = &device;
    }
    if (best == nullptr) {
      findings_.push_back(
          finding(Severity::kProblem, wanted.path,
                  fmt::format("no {} is left: this VM takes all that are free", wanted.what)));
      continue;
    }
    taken.insert(best->address);
    if (node && best->node >= 0 && best->node != *node) {
      findings_.push_back(finding(Severity::kWarning, wanted.path,
                                  fmt::format("{} is on node {}, the VM on node {}",
                                              device_text(*best), best->node, *node)));
    }
    chosen[place] = *best;
  }
  std::vector<PassedDevice> devices;
  for (std::optional<PassedDevice>& device : chosen) {
    if (device) devices.push_back(std::move(*device));
  }
  return devices;
}

}  // namespace vmrig
