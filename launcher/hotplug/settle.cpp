// Hotplug: a new supervisor finds what the old one has left half done.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <variant>

#include "hostcfg/base/error.hpp"
#include "hostcfg/journal.hpp"
#include "launcher/hotplug/hotplug.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::seconds kTimeout{10};  // of one command

bool has_name(const Json& entries, const std::string& name) {
  return std::any_of(entries.begin(), entries.end(), [&name](const Json& entry) {
    return entry.value("name", std::string()) == name;
  });
}

// Any of its front ends; a device that is passed has its id for it.
bool is_there(const Json& peripherals, const VmConfig& config, const std::string& id) {
  const std::optional<PresentDevice> known = find_device(config, id, DiskFiles());
  if (!known || known->device.front_ends.empty()) return has_name(peripherals, id);
  const auto& front_ends = known->device.front_ends;
  return std::any_of(front_ends.begin(), front_ends.end(), [&](const FrontEnd& front_end) {
    return has_name(peripherals, front_end.props.value("id", id));
  });
}

constexpr int kMostFilesOfAttach = 256;  // more than an image and all that it stands on

std::set<std::int64_t> claimed_fd_sets(const VmState& state) {
  std::set<std::int64_t> sets;
  for (const auto& [id, disk] : state.disks) sets.insert(disk.fd_sets.begin(), disk.fd_sets.end());
  return sets;
}

// Of an fdset that another supervisor than this one has given QEMU memory by.
bool is_left_file(const Json& fdset) {
  const Json fds = fdset.value("fds", Json::array());
  return !fds.empty() && std::all_of(fds.begin(), fds.end(), [](const Json& fd) {
    const std::string mark = fd.value("opaque", std::string());
    return mark.starts_with(kMemoryFileMark) && mark != memory_file_mark();
  });
}

}  // namespace

std::string memory_file_mark() { return fmt::format("{}-{}", kMemoryFileMark, ::getpid()); }

asio::awaitable<void> Hotplug::settle() {
  std::exception_ptr fault;
  try {
    // Before the first client is heard, whose devices are on their way. What a dead supervisor has
    // handed over without a claim has the next numbers. They are not used again: QEMU before 9.1
    // only marks a set that is removed while the guest is stopped, and would add a file to it.
    parts_.state.next_fd_set += kMostFilesOfAttach;
    auto left_files = take_back_left_files(parts_.state.next_fd_set, claimed_fd_sets(parts_.state));
    std::vector<std::string> ids = device_ids(config());
    for (const std::string& id : parts_.state.pending_unplugs) {
      if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
    }
    co_await std::move(left_files);
    co_await settle_devices(std::move(ids));
    co_await settle_settings();
    co_await refresh_devices();
    const Turn::Holder turn = co_await planning_.take();
    co_await give_back_strays();
  } catch (...) {
    fault = std::current_exception();
  }
  if (!fault) co_return;
  try {
    std::rethrow_exception(fault);
  } catch (const std::exception& error) {
    parts_.log(fmt::format("what was begun is not settled: {}", error.what()));
  }
}

// An attach is written down before anything happens but that files are handed over, a detach after
// all has happened, so that QEMU never has more devices than the state says. What it does not have
// was on its way in or out: both end with what stands behind the device gone, and given back.
asio::awaitable<void> Hotplug::settle_devices(std::vector<std::string> ids) {
  const Json present = co_await peripherals(qmp::deadline_in(kTimeout));
  for (const std::string& id : ids) {
    if (is_there(present, config(), id)) continue;
    parts_.log(fmt::format("{} is not in QEMU: what stands behind it goes, too", id));
    co_await take_back_left_fds(id);
    co_await clean_up(id);
  }
}

// Those that QEMU was handed for a netdev that it has never made: they keep the host's device busy.
asio::awaitable<void> Hotplug::take_back_left_fds(std::string id) {
  const auto& nics = parts_.state.nics;
  const auto nic = std::find_if(nics.begin(), nics.end(),
                                [&id](const NicRecord& record) { return record.id == id; });
  if (nic == nics.end()) co_return;
  const int most = 2 * std::max(nic->host_end.queues, 1);  // a tap's and vhost's
  for (int number = 0; number < most; ++number) {
    QmpCommand command{"closefd", Json{{"fdname", fd_name(id, static_cast<std::size_t>(number))}}};
    try {
      (void)co_await execute(std::move(command), qmp::deadline_in(kTimeout));
    } catch (const qmp::Error& error) {
      if (error.kind() != qmp::ErrorKind::command) throw;  // it has none of this name
    }
  }
}

// `claimed`: the sets of those below `next` that disks of the state have.
asio::awaitable<void> Hotplug::take_back_left_files(int next, std::set<std::int64_t> claimed) {
  QmpCommand question{"query-fdsets", Json::object()};
  const Json fdsets = co_await execute(std::move(question), qmp::deadline_in(kTimeout));
  for (const Json& fdset : fdsets) {
    const auto set = fdset.at("fdset-id").get<std::int64_t>();
    const bool is_unclaimed =
        set >= VmState::kFirstHotplugFdSet && set < next && claimed.count(set) == 0;
    if (is_unclaimed || is_left_file(fdset)) co_await drop_fdset(set);
  }
}

// What `set` changes in QEMU before it writes it down, and what a new NIC's link was to be.
asio::awaitable<void> Hotplug::settle_settings() {
  VmConfig now = config();
  for (MemoryDeviceConfig& memory : now.memory.devices) {
    if (memory.kind != MemoryDeviceKind::kVirtioMem) continue;
    QmpCommand look{"qom-get", Json{{"path", fmt::format("{}/{}", kPeripherals, memory.id)},
                                    {"property", "requested-size"}}};
    const Json requested = co_await execute(std::move(look), qmp::deadline_in(kTimeout));
    memory.requested = Bytes{requested.get<std::uint64_t>()};
  }
  QmpCommand question{"query-cpus-fast", Json::object()};
  const Json vcpus = co_await execute(std::move(question), qmp::deadline_in(kTimeout));
  now.cpu.vcpus = static_cast<int>(vcpus.size());
  for (const NicConfig& nic : now.nics) {
    if (nic.type == NicType::kVf || nic.link != NicLink::kDown) continue;
    QmpCommand command{"set_link", Json{{"name", nic.id}, {"up", false}}};
    (void)co_await execute(std::move(command), qmp::deadline_in(kTimeout));
  }
  change_config(std::move(now));
  parts_.save();
}

// Shares of what VMs have together, which an attach claims in the journal a moment before the state
// says what for.
asio::awaitable<void> Hotplug::give_back_strays() {
  std::vector<HostAction> wanted;
  for (const HostChange& change : parts_.state.host_changes) {
    if (change.action.is_null()) co_return;  // an older version's: it does not say what it needs
    wanted.push_back(host_action_from_json(change.action));
  }
  std::set<PciAddress> pfs;
  for (const PassedRecord& device : parts_.state.passed) {
    if (device.pf) pfs.insert(*device.pf);
  }
  std::function<bool(const HostAction&)> is_stray = [wanted, pfs](const HostAction& action) {
    const auto* count = std::get_if<SetVfCount>(&action);
    if (count != nullptr && pfs.count(count->pf) != 0) return false;
    return is_shared(action) && std::find(wanted.begin(), wanted.end(), action) == wanted.end();
  };
  const auto journal = read_journal(parts_.folder().path_of(kJournalName));
  if (!journal) co_return;
  const std::vector<const JournalEntry*> open = journal->open();
  const bool has_strays = std::any_of(
      open.begin(), open.end(), [&](const JournalEntry* entry) { return is_stray(entry->action); });
  if (!has_strays) co_return;
  (void)co_await parts_.host.give_back(parts_.folder(), std::move(is_stray));
}

}  // namespace vmrig
