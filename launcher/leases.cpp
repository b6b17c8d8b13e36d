#include "launcher/leases.hpp"

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "hostcfg/base/error.hpp"

namespace vmrig {

namespace {

std::vector<PciAddress> addresses_from(const Json& json) {
  std::vector<PciAddress> addresses;
  // Leases of versions that gave out no PCI devices have no such key.
  for (const std::string& text : json.value("pci", std::vector<std::string>())) {
    addresses.push_back(PciAddress::parse(text));
  }
  return addresses;
}

std::vector<PageClaim> pages_from(const Json& json) {
  std::vector<PageClaim> pages;
  for (const Json& claim : json.value("pages", Json::array())) {
    pages.push_back({.node = claim.at("node").get<int>(),
                     .page_size = Bytes{claim.at("page_size").get<std::uint64_t>()},
                     .pages = claim.at("pages").get<std::uint64_t>(),
                     .reserved = claim.at("reserved").get<std::uint64_t>()});
  }
  return pages;
}

}  // namespace

Json to_json(const Lease& lease) {
  std::vector<std::string> pci;
  for (const PciAddress& address : lease.pci) pci.push_back(address.to_string());
  Json pages = Json::array();
  for (const PageClaim& claim : lease.pages) {
    pages.push_back({{"node", claim.node},
                     {"page_size", claim.page_size.value},
                     {"pages", claim.pages},
                     {"reserved", claim.reserved}});
  }
  Json json = {{"vm", lease.vm},
               {"exclusive_cpus", lease.exclusive_cpus.to_string()},
               {"shared_cpus", lease.shared_cpus.to_string()},
               {"written_disks", lease.written_disks},
               {"read_disks", lease.read_disks},
               {"macs", lease.macs},
               {"pci", std::move(pci)},
               {"usb", lease.usb},
               {"interfaces", lease.interfaces},
               {"pages", std::move(pages)}};
  if (lease.uid) json["uid"] = *lease.uid;
  return json;
}

Lease lease_from_json(const Json& json) {
  try {
    return {
        .vm = json.at("vm").get<std::string>(),
        .exclusive_cpus = CpuSet::parse(json.at("exclusive_cpus").get<std::string>()),
        .shared_cpus = CpuSet::parse(json.at("shared_cpus").get<std::string>()),
        .written_disks = json.at("written_disks").get<std::vector<std::string>>(),
        .read_disks = json.at("read_disks").get<std::vector<std::string>>(),
        .macs = json.at("macs").get<std::vector<std::string>>(),
        .pci = addresses_from(json),
        .usb = json.value("usb", std::vector<std::string>()),
        .interfaces = json.value("interfaces", std::vector<std::string>()),
        .pages = pages_from(json),
        .uid = json.contains("uid") ? std::optional(json.at("uid").get<unsigned>()) : std::nullopt};
  } catch (const std::exception& fault) {
    throw Error({.status = ExitStatus::kFailed,
                 .operation = "read the lease of a VM",
                 .object = {},
                 .cause = fault.what(),
                 .mend = {}});
  }
}

}  // namespace vmrig
