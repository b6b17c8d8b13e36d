#include "tests/fuzz/journal_host.hpp"

#include <fmt/format.h>

#include <system_error>

#include "hostcfg/access_lease.hpp"
#include "hostcfg/cgroup_lease.hpp"
#include "hostcfg/memory_lease.hpp"
#include "hostcfg/net_lease.hpp"

namespace vmrig::fuzz {
namespace {

constexpr int kMostVfs = 64;  // that this host's PFs can have
constexpr std::uint64_t kPoolPages = 100;

}  // namespace

struct JournalHost::Happen {
  JournalHost& host;
  const JournalEntry& entry;
  Came came;

  void operator()(const LoadModule& action) const { host.load_module(action.name); }
  void operator()(const SetVfCount& action) const {
    host.vfs_[action.pf] = came == Came::kToTheEnd ? action.count : 0;
  }
  void operator()(const SetVf& action) const {
    VfSettings settings = action.settings;
    if (came == Came::kToTheMiddle) settings.mac.reset();
    host.set_vf(action.pf, action.index, settings);
  }
  void operator()(const BindDriver& action) const {
    DriverState& state = host.drivers_[action.device];
    state.driver_override = action.driver;
    state.driver = came == Came::kToTheEnd ? action.driver : std::string();
  }
  void operator()(const ReservePages& action) const { DoMemory{host.memory_}(action); }
  void operator()(const MountHugetlbfs& action) const { DoMemory{host.memory_}(action); }
  void operator()(const ShareCgroup& action) const { cgroup(action); }
  void operator()(const CreateCgroup& action) const { cgroup(action); }
  void operator()(const LimitDevice& action) const { cgroup(action); }
  void operator()(const GrantAccess& action) const {
    DoAccess{host.access_, entry.old.access}(action);
  }
  // QEMU made it, and is dead.
  void operator()(const MakeSocket& action) const {
    if (came == Came::kToTheEnd) host.access_.sockets[action.path] = SocketState::kDead;
  }
  template <typename NetAction>
  void operator()(const NetAction& action) const {
    NetOldState old = entry.old.net;
    if (came == Came::kToTheMiddle) old.mark.clear();
    DoNet{host.net_, old}(action);
  }

 private:
  template <typename CgroupAction>
  void cgroup(const CgroupAction& action) const {
    DoCgroup{host.cgroups_}(action);
  }
};

void JournalHost::happen(const JournalEntry& entry, Came came) {
  // What it was before, and what the action needs to be there.
  if (const auto* bind = std::get_if<BindDriver>(&entry.action)) {
    drivers_.try_emplace(bind->device, DriverState{entry.old.driver, entry.old.driver_override});
  } else if (const auto* count = std::get_if<SetVfCount>(&entry.action)) {
    vfs_.try_emplace(count->pf, entry.old.vf_count);
  } else if (const auto* join = std::get_if<JoinBridge>(&entry.action)) {
    net_.add(join->device, "tun");
    net_.add(join->bridge, "bridge");
  } else if (const auto* pages = std::get_if<ReservePages>(&entry.action)) {
    memory_.pools.try_emplace({pages->node, pages->page_size}, PagePool{kPoolPages, 0, kPoolPages});
  } else if (const auto* grant = std::get_if<GrantAccess>(&entry.action)) {
    const AccessOldState& old = entry.old.access;
    if (grant->pci && !old.path.empty()) access_.groups.try_emplace(*grant->pci, old.path);
    testing::FakeFile file{.has_acl = old.by == AccessOldState::By::kAcl, .owner = old.owner};
    if (old.permissions) file.entries[grant->uid] = *old.permissions;
    const std::string& path = old.path.empty() ? grant->path : old.path;
    if (!path.empty()) access_.files.try_emplace(path, std::move(file));
  }
  if (came == Came::kNotAtAll) return;
  try {
    std::visit(Happen{*this, entry, came}, entry.action);
  } catch (const Error&) {
    // This host refuses it: it came to nothing.
  } catch (const std::system_error&) {
  }
}

int JournalHost::vf_count(const PciAddress& pf) {
  const auto found = vfs_.find(pf);
  return found == vfs_.end() ? 0 : found->second;
}

std::optional<PciAddress> JournalHost::vf_address(const PciAddress& pf, int index) {
  if (index >= kMostVfs || records_.count({pf, index}) == 0) return std::nullopt;
  PciAddress address = pf;
  address.device = 0x10;
  address.function = static_cast<std::uint8_t>(index % 8);
  return address;
}

VfRecord JournalHost::vf_record(const PciAddress& pf, int index) { return records_[{pf, index}]; }

void JournalHost::set_vf(const PciAddress& pf, int index, const VfSettings& settings) {
  VfRecord& record = records_[{pf, index}];
  record.index = index;
  if (settings.mac) record.mac = *settings.mac;
  if (settings.vlan) record.vlan = *settings.vlan;
  if (settings.qos) record.qos = *settings.qos;
  if (settings.vlan_proto) record.vlan_proto = *settings.vlan_proto;
  if (settings.trust) record.trust = settings.trust;
  if (settings.spoofchk) record.spoofchk = settings.spoofchk;
  if (settings.link_state) record.link_state = *settings.link_state;
  if (settings.min_rate_mbit) record.min_rate_mbit = *settings.min_rate_mbit;
  if (settings.max_rate_mbit) record.max_rate_mbit = *settings.max_rate_mbit;
}

std::optional<DriverState> JournalHost::driver_state(const PciAddress& device) {
  const auto found = drivers_.find(device);
  return found == drivers_.end() ? std::nullopt : std::optional(found->second);
}

void JournalHost::bind_driver(const PciAddress& device, const std::string& driver) {
  drivers_[device] = {driver, driver};
}

void JournalHost::restore_driver(const PciAddress& device, const DriverState& old) {
  drivers_[device] = old;
}

std::string JournalHost::shown() const {
  std::string text;
  const auto add = [&text](const auto&... words) {
    ((text += fmt::format("{} ", words)), ...);
    text += '\n';
  };
  for (const std::string& name : modules_) add("module", name);
  for (const auto& [pf, count] : vfs_) add("vfs", pf.to_string(), count);
  for (const auto& [vf, record] : records_) {
    add("vf", vf.first.to_string(), vf.second,
        describe_settings(settings_of(record, all_settings_of(record))));
  }
  for (const auto& [device, state] : drivers_) {
    add("driver", device.to_string(), state.driver, state.driver_override);
  }
  for (const auto& [name, link] : net_.links) {
    add("link", name, link.kind, link.alias, link.master, link.lower, link.mode);
  }
  for (const auto& [port, vlans] : net_.vlans) {
    for (const PortVlan& vlan : vlans) add("port", port, vlan.id, vlan.pvid, vlan.untagged);
  }
  for (const auto& [device, cidr] : net_.addresses) add("address", device, cidr);
  for (const auto& [device, rate] : net_.rates) {
    if (rate.ours) add("rate", device);
  }
  for (const auto& [name, port] : net_.ovs) add("ovs", name, port.bridge, port.mark);
  for (const auto& [place, pool] : memory_.pools) {
    add("pool", place.first, to_string(place.second), pool.total, pool.free);
  }
  for (const std::string& path : memory_.mounts) add("mount", path);
  for (const auto& [path, file] : access_.files) {
    add("file", path, file.owner);
    for (const auto& [uid, permissions] : file.entries) add("entry", path, uid, permissions);
  }
  for (const auto& [path, state] : access_.sockets) add("socket", path, static_cast<int>(state));
  return text + cgroups_.shown();
}

}  // namespace vmrig::fuzz
