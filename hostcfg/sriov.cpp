#include "hostcfg/sriov.hpp"

#include <fmt/format.h>

#include <charconv>
#include <system_error>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/checkpoint.hpp"
#include "hostcfg/device_use.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/iommu_group.hpp"
#include "hostcfg/pci_driver.hpp"

namespace vmrig {
namespace {

constexpr const char* kOperation = "make VFs of";
constexpr std::uint32_t kEthernet = 0x0200;

std::string folder_of(const PciAddress& device) {
  return "sys/bus/pci/devices/" + device.to_string();
}

Error refusal(ExitStatus status, const PciAddress& pf, std::string cause, std::string mend = {}) {
  return Error({.status = status,
                .operation = kOperation,
                .object = pf.to_string(),
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

std::optional<int> number(const Sysfs& sysfs, const std::string& file) {
  const auto text = sysfs.read(file);
  return text ? parse_number<int>(*text) : std::nullopt;
}

void write_count(const Sysfs& sysfs, const PciAddress& pf, int count) {
  checkpoint("before sriov_numvfs");
  try {
    sysfs.write(folder_of(pf) + "/sriov_numvfs", std::to_string(count));
  } catch (const std::system_error& fault) {
    const auto driver = sysfs.link_name(folder_of(pf) + "/driver");
    std::string cause = fault.code().message();
    std::string mend = "dmesg says more";
    if (fault.code() == std::errc::permission_denied) mend = "run vmrig as root";
    if (!driver) cause = "no driver is bound to the PF, and it is the driver that makes VFs";
    // pciehp and ARI: linux drivers/pci/iov.c sriov_init, virtfn_max_buses.
    if (fault.code() == std::errc::not_enough_memory) {
      cause += "; the bridge above it has no bus numbers left for VFs";
      mend = "boot with pci=assign-busses or pci=realloc";
    }
    throw refusal(ExitStatus::kHost, pf, fmt::format("sriov_numvfs = {}: {}", count, cause), mend);
  }
  checkpoint("after sriov_numvfs");
}

bool all_there(const Sysfs& sysfs, const PciAddress& pf, int count) {
  if (number(sysfs, folder_of(pf) + "/sriov_numvfs") != count) return false;
  for (int index = 0; index < count; ++index) {
    if (!find_vf(sysfs, pf, index)) return false;
  }
  return true;
}

std::optional<std::string> holder_of(const Sysfs& sysfs, const PciAddress& vf) {
  const auto state = read_driver_state(sysfs, vf);
  if (!state || state->driver.empty()) return std::nullopt;
  const std::string& driver = state->driver;
  const std::string name = vf.to_string();
  if (is_vfio_driver(driver) || driver == "pci-stub" || driver.find("uio") != std::string::npos) {
    return fmt::format("{} is on {}", name, driver);
  }
  const auto root = FolderReader::open(sysfs.root());
  if (!root) return std::nullopt;
  // Netlink knows this host alone, not one that stands in files.
  const NetAddresses addresses = sysfs.root() == "/" ? read_net_addresses() : NetAddresses{};
  const std::vector<std::string> uses = find_uses(*root, vf, addresses, find_block_uses(*root));
  if (!uses.empty()) return fmt::format("{}: {}", name, uses.front());
  const auto text = sysfs.read(folder_of(vf) + "/class");
  const auto code = text && text->size() > 2
                        ? parse_number<std::uint32_t>(std::string_view(*text).substr(2), 16)
                        : std::nullopt;
  const bool is_nic = code && *code >> 8 == kEthernet;
  if (is_nic && root->names((folder_of(vf) + "/net").c_str()).empty()) {
    return fmt::format("the network device of {} is in another network namespace", name);
  }
  return std::nullopt;
}

}  // namespace

int read_vf_count(const Sysfs& sysfs, const PciAddress& pf) {
  if (!sysfs.exists(folder_of(pf))) {
    throw refusal(ExitStatus::kHost, pf, "there is no such PCI device");
  }
  const auto count = number(sysfs, folder_of(pf) + "/sriov_numvfs");
  if (!count) throw refusal(ExitStatus::kHost, pf, "it can't have VFs", "vmrig sriov list");
  return *count;
}

std::optional<PciAddress> find_vf(const Sysfs& sysfs, const PciAddress& pf, int index) {
  const auto name = sysfs.link_name(fmt::format("{}/virtfn{}", folder_of(pf), index));
  if (!name) return std::nullopt;
  try {
    const PciAddress vf = PciAddress::parse(*name);
    return sysfs.exists(folder_of(vf)) ? std::optional(vf) : std::nullopt;
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

std::vector<std::string> find_vf_holders(const Sysfs& sysfs, const PciAddress& pf) {
  std::vector<std::string> holders;
  const int count = read_vf_count(sysfs, pf);
  for (int index = 0; index < count; ++index) {
    const auto vf = find_vf(sysfs, pf, index);
    if (!vf) continue;
    if (auto holder = holder_of(sysfs, *vf)) holders.push_back(*std::move(holder));
  }
  return holders;
}

void set_vf_count(const Sysfs& sysfs, const PciAddress& pf, int count) {
  const int now = read_vf_count(sysfs, pf);
  if (now == count) return;
  const int most = number(sysfs, folder_of(pf) + "/sriov_totalvfs").value_or(0);
  if (count < 0 || count > most) {
    throw refusal(ExitStatus::kHost, pf, fmt::format("{} VFs; it can have 0 to {}", count, most));
  }
  if (now > 0) {
    const std::vector<std::string> holders = find_vf_holders(sysfs, pf);
    if (!holders.empty()) {
      throw refusal(ExitStatus::kBusy, pf,
                    fmt::format("it has {} VFs, and another number means to take all of them away "
                                "first: {}",
                                now, fmt::join(holders, "; ")),
                    "stop what uses them");
    }
    write_count(sysfs, pf, 0);
  }
  if (count > 0) write_count(sysfs, pf, count);
  if (!sysfs.wait_until([&] { return all_there(sysfs, pf, count); })) {
    throw refusal(ExitStatus::kHost, pf,
                  fmt::format("{} VFs were asked for, and {} are there", count,
                              number(sysfs, folder_of(pf) + "/sriov_numvfs").value_or(0)),
                  "dmesg says more");
  }
}

}  // namespace vmrig
