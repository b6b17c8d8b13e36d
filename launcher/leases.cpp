#include "launcher/leases.hpp"

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "hostcfg/base/error.hpp"

namespace vmrig {

Json to_json(const Lease& lease) {
  return {{"vm", lease.vm},
          {"exclusive_cpus", lease.exclusive_cpus.to_string()},
          {"shared_cpus", lease.shared_cpus.to_string()},
          {"written_disks", lease.written_disks},
          {"read_disks", lease.read_disks},
          {"macs", lease.macs}};
}

Lease lease_from_json(const Json& json) {
  try {
    return {.vm = json.at("vm").get<std::string>(),
            .exclusive_cpus = CpuSet::parse(json.at("exclusive_cpus").get<std::string>()),
            .shared_cpus = CpuSet::parse(json.at("shared_cpus").get<std::string>()),
            .written_disks = json.at("written_disks").get<std::vector<std::string>>(),
            .read_disks = json.at("read_disks").get<std::vector<std::string>>(),
            .macs = json.at("macs").get<std::vector<std::string>>()};
  } catch (const std::exception& fault) {
    throw Error({.status = ExitStatus::kFailed,
                 .operation = "read the lease of a VM",
                 .object = {},
                 .cause = fault.what(),
                 .mend = {}});
  }
}

}  // namespace vmrig
