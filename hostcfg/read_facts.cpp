#include "hostcfg/read_facts.hpp"

#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/block_use.hpp"
#include "hostcfg/cgroup_facts.hpp"
#include "hostcfg/cgroup_settings.hpp"
#include "hostcfg/cpuset.hpp"
#include "hostcfg/device_node.hpp"
#include "hostcfg/device_use.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/kvm.hpp"
#include "hostcfg/listeners.hpp"
#include "hostcfg/modules.hpp"
#include "hostcfg/mounts.hpp"
#include "hostcfg/net_devices.hpp"
#include "hostcfg/netlink.hpp"
#include "hostcfg/numa_nodes.hpp"
#include "hostcfg/path_facts.hpp"
#include "hostcfg/pci_devices.hpp"
#include "hostcfg/process_facts.hpp"
#include "hostcfg/usb_devices.hpp"
#include "hostcfg/users.hpp"
#include "hostcfg/vf_settings.hpp"
#include "hostcfg/vfio_facts.hpp"

namespace vmrig {
namespace {

// Splits as the kernel does: a space in double quotes belongs to the parameter.
// Source: linux lib/cmdline.c next_arg.
std::vector<std::string> split_parameters(std::string_view line) {
  std::vector<std::string> parameters;
  std::string parameter;
  bool in_quotes = false;
  for (const char c : line) {
    if (c == '"') in_quotes = !in_quotes;
    const bool ends = !in_quotes && (c == ' ' || c == '\t' || c == '\n' || c == '\0');
    if (!ends) {
      parameter += c;
    } else if (!parameter.empty()) {
      parameters.push_back(std::exchange(parameter, {}));
    }
  }
  if (!parameter.empty()) parameters.push_back(std::move(parameter));
  return parameters;
}

void read_kernel(const FolderReader& root, HostFacts& facts) {
  facts.kernel_release = root.attribute("proc/sys/kernel/osrelease").value_or(std::string{});
  facts.boot_id = root.attribute("proc/sys/kernel/random/boot_id").value_or(std::string{});
  constexpr std::size_t kLimit = std::size_t{64} * 1024;
  facts.kernel_parameters =
      split_parameters(root.text("proc/cmdline", kLimit).value_or(std::string{}));
}

void read_processors(const FolderReader& root, const Topology& topology, HostFacts& facts) {
  facts.cpus = topology.cpus();
  facts.nodes = read_numa_nodes(root, topology);
  // Where a node has memory alone, hwloc's CPU sets overlap; sysfs knows the one node of a CPU.
  for (const NumaNode& node : facts.nodes) {
    for (CpuFacts& cpu : facts.cpus) {
      if (node.cpus.contains(cpu.id)) cpu.node = node.id;
    }
  }
  for (CpuFacts& cpu : facts.cpus) {
    if (facts.find_node(cpu.node) == nullptr) cpu.node = -1;
  }
  facts.present =
      root.cpulist("sys/devices/system/cpu/present").value_or(CpuSet{}) | facts.online();
  facts.isolated = root.cpulist("sys/devices/system/cpu/isolated").value_or(CpuSet{});
  facts.nohz_full = root.cpulist("sys/devices/system/cpu/nohz_full").value_or(CpuSet{});
  const auto runtime = root.number<int>("proc/sys/kernel/sched_rt_runtime_us");
  if (runtime && *runtime >= -1) facts.rt_runtime_us = runtime;
  const auto period = root.number<int>("proc/sys/kernel/sched_rt_period_us");
  if (period && *period > 0) facts.rt_period_us = period;
}

CpuSet with_memory(const std::vector<NumaNode>& nodes) {
  CpuSet ids;
  for (const NumaNode& node : nodes) {
    if (node.memory_total > Bytes{0}) ids.insert(node.id);
  }
  return ids;
}

void read_bounds(const FolderReader& root, const std::vector<Mount>& mounts,
                 const CpuSet& allowed_by_kernel, HostFacts& facts) {
  const Cpuset cpuset = read_cpuset(root, mounts);
  const CpuSet online = facts.online();
  facts.allowed = cpuset.cpus ? *cpuset.cpus & online : online;
  if (facts.allowed.empty()) facts.allowed = online;
  facts.isolated = facts.isolated | cpuset.isolated;
  const CpuSet nodes = with_memory(facts.nodes);
  CpuSet bound = allowed_by_kernel;
  if (cpuset.nodes) bound = bound.empty() ? *cpuset.nodes : bound & *cpuset.nodes;
  facts.allowed_nodes = bound & nodes;
  if (facts.allowed_nodes.empty()) facts.allowed_nodes = nodes;
}

std::vector<VfRecord> ask_for_vf_records(int pf_index) {
  try {
    NetlinkSocket socket;
    return read_vf_records(socket, pf_index);
  } catch (const Error&) {
    return {};  // a sandbox without netlink does not tell
  }
}

void read_devices_in_depth(const FolderReader& root, const FactsRequest& request,
                           HostFacts& facts) {
  facts.vfio = read_vfio_facts(root, facts);
  NetlinkFacts netlink = request.netlink;
  if (request.root == "/") {
    if (!netlink.addresses) netlink.addresses = read_net_addresses;
    if (!netlink.vf_records) netlink.vf_records = ask_for_vf_records;
    if (!netlink.links) netlink.links = read_net_links;
  }
  if (netlink.links) add_net_links(netlink.links(), facts.net);
  const NetAddresses addresses = netlink.addresses ? netlink.addresses() : NetAddresses{};
  const BlockUses blocks = find_block_uses(root);
  for (PciDeviceFacts& device : facts.pci) {
    device.in_use = find_uses(root, device.address, addresses, blocks);
    if (device.num_vfs == 0 || !netlink.vf_records) continue;
    for (const std::string& name : device.net_devices) {
      const NetDeviceFacts* net = facts.find_net(name);
      if (net == nullptr || !device.vf_records.empty()) continue;
      device.vf_records = netlink.vf_records(net->index);
    }
  }
}

// Opening either loads its module where only the node is there; reading facts changes nothing.
void read_network_nodes(const FolderReader& root, const std::string& root_path, HostFacts& facts) {
  const auto probe = [&root](const char* loaded) {
    return root.exists(loaded) ? NodeProbe::kOpen : NodeProbe::kAskForAccess;
  };
  facts.tun = read_device_node(root, "dev/net/tun", probe("sys/class/misc/tun"));
  facts.vhost_net = read_device_node(root, "dev/vhost-net", probe("sys/class/misc/vhost-net"));
  const Sysfs sysfs(root_path == "/" ? root_path : root_path + "/");
  facts.vhost_net_available = root.exists("sys/class/misc/vhost-net") ||
                              is_module_loaded(sysfs, "vhost_net") ||
                              is_module_available(sysfs, facts.kernel_release, "vhost_net");
}

}  // namespace

HostFacts read_host_facts(const FactsRequest& request, const Topology& topology) {
  constexpr std::size_t kMountinfoLimit = std::size_t{4} << 20;
  const std::optional<FolderReader> root = FolderReader::open(request.root);
  if (!root) throw system_error("read host facts below", request.root, errno);
  HostFacts facts;
  read_kernel(*root, facts);
  read_processors(*root, topology, facts);
  const CpuSet allowed_by_kernel = read_process_facts(*root, facts);
  const std::vector<Mount> mounts =
      parse_mountinfo(root->text("proc/self/mountinfo", kMountinfoLimit).value_or(std::string{}));
  facts.hugetlbfs = hugetlbfs_mounts(mounts);
  facts.cgroup = read_cgroup_facts(*root, mounts);
  const CgroupSettings limits = read_cgroup_settings(*root, mounts);
  facts.memory_limits = {.memory = limits.memory_max, .hugepages = limits.hugetlb_max};
  read_bounds(*root, mounts, allowed_by_kernel, facts);
  read_cpu_flags(*root, facts);
  facts.kvm = read_device_node(*root, "dev/kvm", NodeProbe::kOpen);
  if (request.devices == FactsRequest::Devices::kRead) {
    facts.pci = read_pci_devices(*root);
    facts.net = read_net_devices(*root, facts.pci);
    read_devices_in_depth(*root, request, facts);
    read_network_nodes(*root, request.root, facts);
  }
  if (request.usb == FactsRequest::Devices::kRead) facts.usb = read_usb_devices(*root);
  if (request.listeners == FactsRequest::Devices::kRead) facts.listeners = read_listeners(*root);
  facts.paths = read_paths(request.paths, request.root == "/" ? std::string() : request.root);
  if (request.root == "/") {
    for (const std::string& name : request.users) facts.users.emplace(name, read_user(name));
  }
  return facts;
}

}  // namespace vmrig
