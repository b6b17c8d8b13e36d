// vmrig sriov list, set: VFs and what their PFs keep about them.
#include <fmt/format.h>

#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/host_control.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/environment.hpp"
#include "launcher/commands/host_devices.hpp"
#include "launcher/passthrough.hpp"

namespace vmrig {
namespace {

struct ListOptions {
  std::optional<std::string> pf;
  bool json = false;
};

std::string on_off(const std::optional<bool>& value) {
  return !value ? "-" : *value ? "on" : "off";
}

std::string rate_text(const VfRecord& record) {
  if (record.min_rate_mbit == 0 && record.max_rate_mbit == 0) return "-";
  const std::string most = record.max_rate_mbit == 0 ? "" : fmt::format("{}", record.max_rate_mbit);
  return fmt::format("{}-{} Mbit", record.min_rate_mbit, most);
}

std::string vlan_text(const VfRecord& record) {
  if (record.vlan == 0) return "-";
  std::string text = fmt::format("{}", record.vlan);
  if (record.vlan_proto == "802.1ad") text += " " + record.vlan_proto;
  if (record.qos != 0) text += fmt::format(" qos {}", record.qos);
  return text;
}

std::vector<const PciDeviceFacts*> chosen_pfs(const HostFacts& facts, const ListOptions& options) {
  if (options.pf) return {&find_pf(facts, *options.pf)};
  std::vector<const PciDeviceFacts*> pfs;
  for (const PciDeviceFacts& device : facts.pci) {
    if (device.total_vfs > 0) pfs.push_back(&device);
  }
  return pfs;
}

std::string list_text(const HostFacts& facts, const std::vector<const PciDeviceFacts*>& pfs,
                      const std::vector<Lease>& leases) {
  std::string text;
  for (const PciDeviceFacts* pf : pfs) {
    text += fmt::format(
        "{}   {}, {}, node {}, {} of {} VFs\n",
        styled(printable(name_of_pf(facts, pf->address)), Style::kBold, stdout_colour()),
        pf->address.to_string(), pf->driver.empty() ? "no driver" : pf->driver,
        pf->numa_node < 0 ? "-" : fmt::format("{}", pf->numa_node), pf->num_vfs, pf->total_vfs);
    if (pf->num_vfs == 0) continue;
    std::vector<std::vector<std::string>> rows = {
        {"  VF", "ADDRESS", "DRIVER", "VM", "MAC", "VLAN", "TRUST", "SPOOFCHK", "LINK", "RATE"}};
    for (const PciDeviceFacts* vf : facts.vfs_of(pf->address)) {
      const Lease* holder = holder_of(vf->address, leases);
      std::vector<std::string> row = {fmt::format("  {}", vf->vf_index), vf->address.to_string(),
                                      vf->driver.empty() ? "-" : vf->driver,
                                      holder == nullptr ? "-" : printable(holder->vm)};
      if (const VfRecord* record = facts.find_vf_record(pf->address, vf->vf_index)) {
        row.insert(
            row.end(),
            {record->mac, vlan_text(*record), on_off(record->trust), on_off(record->spoofchk),
             record->link_state.empty() ? "-" : record->link_state, rate_text(*record)});
      }
      row.resize(rows.front().size(), "-");
      rows.push_back(std::move(row));
    }
    text += table(rows);
  }
  return text;
}

Json list_json(const HostFacts& facts, const std::vector<const PciDeviceFacts*>& pfs,
               const std::vector<Lease>& leases) {
  Json out = Json::array();
  for (const PciDeviceFacts* pf : pfs) {
    Json vfs = Json::array();
    for (const PciDeviceFacts* vf : facts.vfs_of(pf->address)) {
      const Lease* holder = holder_of(vf->address, leases);
      const VfRecord* record = facts.find_vf_record(pf->address, vf->vf_index);
      vfs.push_back({{"index", vf->vf_index},
                     {"address", vf->address.to_string()},
                     {"driver", vf->driver},
                     {"group", vf->iommu_group},
                     {"net_devices", vf->net_devices},
                     {"vm", holder == nullptr ? Json() : Json(holder->vm)},
                     {"record", record == nullptr ? Json() : to_json(all_settings_of(*record))}});
    }
    out.push_back({{"name", name_of_pf(facts, pf->address)},
                   {"address", pf->address.to_string()},
                   {"driver", pf->driver},
                   {"node", pf->numa_node},
                   {"num_vfs", pf->num_vfs},
                   {"total_vfs", pf->total_vfs},
                   {"vfs", std::move(vfs)}});
  }
  return out;
}

ExitStatus list(const ListOptions& options, const Context& context) {
  const HostFacts facts = read_device_facts();
  const std::vector<const PciDeviceFacts*> pfs = chosen_pfs(facts, options);
  const std::vector<Lease> leases = leases_of_all(context);
  if (options.json) {
    write_json(list_json(facts, pfs, leases));
  } else {
    write_out(list_text(facts, pfs, leases));
  }
  return ExitStatus::kDone;
}

struct SetOptions {
  std::string pf;
  std::optional<std::string> vfs;
};

int count_of(const SetOptions& options, const PciDeviceFacts& pf) {
  const std::string text = options.vfs.value_or("");
  int count = -1;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error == std::errc{} && rest == text.data() + text.size() && count >= 0 &&
      count <= pf.total_vfs) {
    return count;
  }
  throw Error({.status = ExitStatus::kUsage,
               .operation = "make VFs of",
               .object = options.pf,
               .cause = text.empty() ? "their number is missing"
                                     : fmt::format("{} is no number from 0 to {}", quote(text),
                                                   pf.total_vfs),
               .mend = fmt::format("vmrig sriov set {} --vfs {}", options.pf, pf.total_vfs)});
}

ExitStatus set(const SetOptions& options, const Context& context) {
  StateRoot root = StateRoot::open(state_folder(context));
  const StateRoot::Lock lock = root.lock();  // no start chooses a VF meanwhile
  const HostFacts facts = read_device_facts();
  const PciDeviceFacts& pf = find_pf(facts, options.pf);
  const int count = count_of(options, pf);
  const std::vector<Lease> leases = root.leases();
  if (count != pf.num_vfs) {
    for (const PciDeviceFacts* vf : facts.vfs_of(pf.address)) {
      const Lease* holder = holder_of(vf->address, leases);
      if (holder == nullptr) continue;
      throw Error({.status = ExitStatus::kBusy,
                   .operation = "change the number of VFs of",
                   .object = options.pf,
                   .cause = fmt::format("VM \"{}\" holds VF {} ({}), and all VFs go first",
                                        holder->vm, vf->vf_index, vf->address.to_string()),
                   .mend = fmt::format("vmrig stop {}", holder->vm)});
    }
    LinuxHost host;
    host.set_vf_count(pf.address, count);
  }
  write_out(fmt::format("{}: {} VFs, {} before\n", printable(name_of_pf(facts, pf.address)), count,
                        pf.num_vfs));
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_sriov_list(CommandLine& line) {
  auto options = std::make_shared<ListOptions>();
  line.positional("PF", "This one only: its network device, or its PCI address", options->pf);
  line.flag("--json", "As JSON", options->json);
  return [options](const Context& context) { return list(*options, context); };
}

RunCommand define_sriov_set(CommandLine& line) {
  auto options = std::make_shared<SetOptions>();
  line.positional("PF", "Its network device, or its PCI address", options->pf);
  line.option("--vfs", "N", "How many VFs it is to have; 0 for none", options->vfs);
  return [options](const Context& context) { return set(*options, context); };
}

}  // namespace vmrig
