// Hotplug: a device goes.
#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "devices/channel.hpp"
#include "hostcfg/base/error.hpp"
#include "launcher/hotplug/hotplug.hpp"
#include "launcher/hotplug/qemu_refusal.hpp"
#include "launcher/network_names.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

// A backend may be held a moment longer than its device: QEMU drops the last reference from an
// RCU callback.
constexpr std::chrono::milliseconds kBackendFirstPause{1};
constexpr std::chrono::milliseconds kBackendLongestPause{50};
constexpr std::chrono::seconds kBackendTimeout{5};
// The guest's hotplug controller is busy for some seconds after the last plug (its indicator
// blinks); asking is cheap.
constexpr std::chrono::milliseconds kBusyPause{50};
// A guest that was still at the plug may miss the press of its attention button, and QEMUs before
// 6.2 don't tell. Pressed again within the five seconds that it waits before it powers the slot
// off, it would take that for a change of mind.
constexpr std::chrono::seconds kAskAgain{10};

bool has_word(const std::string& text, std::string_view word) {
  return text.find(word) != std::string::npos;
}

// QMP has no class for these two; a text that changes makes the answer slower, not wrong.
bool says_guest_is_busy(const qmp::Error& fault) {
  return has_word(fault.desc(), "guest is busy") || has_word(fault.desc(), "power indicator");
}
bool says_unplug_is_pending(const qmp::Error& fault) {
  return has_word(fault.desc(), "already in the process of unplug");
}

bool concerns(const HostAction& action, const PassedRecord& device) {
  if (const auto* bind = std::get_if<BindDriver>(&action)) {
    return bind->device == device.address ||
           std::find(device.with.begin(), device.with.end(), bind->device) != device.with.end();
  }
  if (const auto* vf = std::get_if<SetVf>(&action)) {
    return device.pf == vf->pf && device.vf_index == vf->index;
  }
  if (const auto* grant = std::get_if<GrantAccess>(&action)) return grant->device == device.id;
  return false;
}

// A copy: the list may change while the host is worked on.
std::optional<PassedRecord> find_passed(const VmState& state, const std::string& id) {
  const auto record = std::find_if(state.passed.begin(), state.passed.end(),
                                   [&id](const PassedRecord& entry) { return entry.id == id; });
  if (record == state.passed.end()) return std::nullopt;
  return *record;
}

asio::awaitable<void> wait_until(asio::steady_timer& timer, qmp::Deadline deadline) {
  timer.expires_at(deadline);
  boost::system::error_code ignored;
  auto token = asio::redirect_error(asio::use_awaitable, ignored);
  co_await timer.async_wait(token);
}

// A client may have removed it already.
bool says_it_is_missing(const qmp::Error& error) {
  return error.error_class() == "DeviceNotFound" || has_word(error.desc(), "not found") ||
         has_word(error.desc(), "Failed to find");
}

}  // namespace

asio::awaitable<Json> Hotplug::detach(Json arguments) {
  refuse_while_suspended("detach from");
  const UnderWay::Mark mark = under_way_.begin();
  const DetachRequest request = detach_request(arguments);
  const bool is_foreign =
      std::find(parts_.state.foreign_devices.begin(), parts_.state.foreign_devices.end(),
                request.id) != parts_.state.foreign_devices.end();
  if (!is_foreign && !has_device(config(), request.id)) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "detach",
                 .object = request.id,
                 .cause = "the VM has no such device",
                 .mend = "vmrig status " + parts_.state.name});
  }
  if (plugging_.count(request.id) != 0) {
    throw Error({.status = ExitStatus::kBusy,
                 .operation = "detach",
                 .object = request.id,
                 .cause = "it is being attached just now",
                 .mend = {}});
  }
  co_await unplug(request.id, qmp::deadline_in(request.timeout));
  co_return Json{{"id", request.id}};
}

// Asks QEMU to unplug. False: ask again, the guest is busy.
asio::awaitable<bool> Hotplug::request_unplug(std::string id, qmp::Deadline deadline) {
  QmpCommand command{"device_del", Json{{"id", id}}};
  std::optional<qmp::Error> fault;
  try {
    (void)co_await execute(std::move(command), deadline);
  } catch (const qmp::Error& error) {
    fault = error;
  }
  if (!fault || says_unplug_is_pending(*fault)) {
    if (unplugs_.count(id) != 0 && !unplugs_.at(id)->is_gone) set_pending(id, true);
    co_return true;
  }
  if (fault->error_class() == "DeviceNotFound") {
    // It went before we asked: all that is left is what stood behind it.
    on_deleted(id);
    co_return true;
  }
  if (says_guest_is_busy(*fault)) {
    // With the first request it may be; the answer to that one still comes.
    const auto& pending = parts_.state.pending_unplugs;
    co_return std::find(pending.begin(), pending.end(), id) != pending.end();
  }
  throw qemu_refusal("detach", id, *fault);
}

asio::awaitable<void> Hotplug::unplug(std::string id, qmp::Deadline deadline) {
  std::shared_ptr<Unplug>& entry = unplugs_[id];
  if (!entry) entry = std::make_shared<Unplug>(parts_.executor);
  const std::shared_ptr<Unplug> unplug = entry;
  unplug->refusal.clear();
  bool asks = true;
  std::optional<Error> fault;
  while (!fault && !unplug->is_gone && unplug->refusal.empty()) {
    if (std::chrono::steady_clock::now() >= deadline) {
      const std::string why = asks ? "the guest is busy with the last change all the time"
                                   : "the guest has not given it free yet; the request stands, and "
                                     "vmrig finishes it when the guest does";
      fault.emplace(Error::Parts{
          .status = asks ? ExitStatus::kFailed : ExitStatus::kTimeUp,
          .operation = "detach",
          .object = id,
          .cause = why,
          .mend = asks ? std::string("try again")
                       : fmt::format("vmrig events {} --match DEVICE_DELETED", parts_.state.name)});
      break;
    }
    if (asks) {
      try {
        asks = !co_await request_unplug(id, deadline);
      } catch (const Error& error) {
        fault = error;
        continue;
      }
      // What the guest did meanwhile is seen at once.
      if (unplug->is_gone || !unplug->refusal.empty()) continue;
    }
    const qmp::Deadline next = asks ? qmp::deadline_in(kBusyPause) : qmp::deadline_in(kAskAgain);
    co_await wait_until(unplug->changed, std::min(deadline, next));
    const bool is_time = std::chrono::steady_clock::now() >= next && next < deadline;
    asks = asks || std::exchange(unplug->asks_again, false) || is_time;
  }
  if (!unplug->is_gone && !unplug->refusal.empty() && !fault) {
    fault.emplace(Error::Parts{.status = ExitStatus::kFailed,
                               .operation = "detach",
                               .object = id,
                               .cause = unplug->refusal,
                               .mend = {}});
  }
  const auto found = unplugs_.find(id);
  // Two may wait for one device.
  if (found != unplugs_.end() && found->second == unplug && unplug.use_count() <= 2) {
    unplugs_.erase(found);
  }
  if (unplug->is_gone) co_return;
  throw *fault;
}

void Hotplug::on_deleted(const std::string& id) { in_background(clean_up(id)); }

// The device is gone: what stood behind it goes, too.
asio::awaitable<void> Hotplug::clean_up(std::string id) {
  const auto disk = parts_.state.disks.find(id);
  const DiskRecord record = disk == parts_.state.disks.end() ? DiskRecord() : disk->second;
  if (std::optional<PresentDevice> present = find_device(config(), id, record.files)) {
    if (record.is_block_tree) present->device = with_block_tree(std::move(present->device));
    std::vector<QmpCommand> removal = backend_removal(present->device);
    for (const int set : record.fd_sets) removal.push_back(fdset_removal(set));
    co_await remove_backends(std::move(removal));
    co_await release_host_device(id);
    remove_from_config(id);
    parts_.log(fmt::format("detached {} {}", kind_name(present->kind), id));
  }
  std::erase_if(taken_, [&id](const auto& entry) { return entry.second == id; });
  std::erase(parts_.state.foreign_devices, id);
  std::erase(parts_.state.pending_unplugs, id);
  std::erase_if(parts_.state.threads, [&id](const VmThread& thread) {
    return thread.role == "vcpu" && id == std::string(kVcpuPrefix) + thread.id;
  });
  parts_.save();
  const auto found = unplugs_.find(id);
  if (found == unplugs_.end()) co_return;
  found->second->is_gone = true;
  found->second->changed.cancel();
}

// All in one go; what QEMU refuses then, as what a device holds for a moment after its end, is
// tried again.
asio::awaitable<void> Hotplug::remove_backends(std::vector<QmpCommand> commands) {
  std::vector<qmp::Request> requests;
  for (const QmpCommand& command : commands) {
    requests.push_back({command.name, command.arguments, {}});
  }
  std::vector<qmp::Outcome> outcomes(commands.size());
  try {
    outcomes = co_await parts_.monitor().execute_all(std::move(requests),
                                                     qmp::deadline_in(kBackendTimeout));
  } catch (const qmp::Error& error) {
    for (qmp::Outcome& outcome : outcomes) outcome.error = error;
  }
  for (std::size_t i = 0; i < commands.size(); ++i) {
    if (outcomes[i].ok() || says_it_is_missing(*outcomes[i].error)) continue;
    co_await remove_backend(std::move(commands[i]));
  }
}

asio::awaitable<void> Hotplug::remove_backend(QmpCommand command) {
  const qmp::Deadline deadline = qmp::deadline_in(kBackendTimeout);
  std::chrono::milliseconds pause = kBackendFirstPause;
  asio::steady_timer timer(parts_.executor);
  while (true) {
    QmpCommand attempt = command;
    std::string fault;
    try {
      (void)co_await execute(std::move(attempt), deadline);
    } catch (const qmp::Error& error) {
      fault = error.what();
      if (says_it_is_missing(error)) co_return;
    }
    if (fault.empty()) co_return;
    if (qmp::deadline_in(pause) >= deadline || !parts_.monitor().is_open()) {
      parts_.log(fmt::format("{} {}: {}", command.name, command.arguments.dump(), fault));
      co_return;
    }
    co_await wait_until(timer, qmp::deadline_in(pause));
    pause = std::min(pause * 2, kBackendLongestPause);
  }
}

asio::awaitable<void> Hotplug::release_host_device(std::string id) {
  VmState& state = parts_.state;
  const auto& nics = config().nics;
  const auto nic = std::find_if(nics.begin(), nics.end(),
                                [&id](const NicConfig& candidate) { return candidate.id == id; });
  if (nic != nics.end() && nic->type != NicType::kVf) {
    co_await release_network(*nic);
    co_return;
  }
  const std::optional<PassedRecord> found = find_passed(state, id);
  if (!found) {
    remove_socket(id);
    co_await release_limit_and_node(id);
    co_return;
  }
  const PassedRecord& device = *found;
  std::function<bool(const HostAction&)> only = [device](const HostAction& action) {
    return concerns(action, device);
  };
  const std::string fault = co_await parts_.host.give_back(parts_.folder(), std::move(only));
  // What could not be put back stays claimed, and in the journal for the VM's end.
  if (!fault.empty()) co_return;
  std::erase_if(state.host_changes, [&device](const HostChange& change) {
    return !change.action.is_null() && concerns(host_action_from_json(change.action), device);
  });
  std::erase_if(state.passed, [&id](const PassedRecord& entry) { return entry.id == id; });
  std::erase_if(state.claim.pci, [&device](const PciAddress& address) {
    return address == device.address ||
           std::find(device.with.begin(), device.with.end(), address) != device.with.end();
  });
}

// A channel's.
void Hotplug::remove_socket(const std::string& id) {
  const auto& channels = config().channels;
  const bool is_channel =
      std::any_of(channels.begin(), channels.end(),
                  [&id](const ChannelConfig& channel) { return channel.id == id; });
  if (is_channel) parts_.folder().remove_file(channel_socket_name(id));
}

// A limit of the kernel's on the device below a disk; the node of a USB device.
asio::awaitable<void> Hotplug::release_limit_and_node(std::string id) {
  const auto is_its = [id](const HostAction& action) {
    if (const auto* grant = std::get_if<GrantAccess>(&action)) return grant->device == id;
    const auto* limit = std::get_if<LimitDevice>(&action);
    return limit != nullptr && limit->disk == id;
  };
  const auto concerns_it = [&is_its](const HostChange& change) {
    return !change.action.is_null() && is_its(host_action_from_json(change.action));
  };
  std::vector<HostChange>& changes = parts_.state.host_changes;
  if (std::none_of(changes.begin(), changes.end(), concerns_it)) co_return;
  std::function<bool(const HostAction&)> only = is_its;
  const std::string fault = co_await parts_.host.give_back(parts_.folder(), std::move(only));
  if (fault.empty()) std::erase_if(changes, concerns_it);
}

asio::awaitable<void> Hotplug::release_network(NicConfig nic) {
  VmState& state = parts_.state;
  std::vector<NicConfig> others = config().nics;
  std::erase_if(others, [&nic](const NicConfig& other) { return other.id == nic.id; });
  const auto is_its = [nic, others, name = state.name](const HostAction& action) {
    return is_of_nic(action, nic, name, others);
  };
  std::erase_if(state.nics, [&nic](const NicRecord& record) { return record.id == nic.id; });
  update_vhost_threads();
  const bool has_changes = std::any_of(
      state.host_changes.begin(), state.host_changes.end(), [&](const HostChange& change) {
        return !change.action.is_null() && is_its(host_action_from_json(change.action));
      });
  if (!has_changes) co_return;
  std::function<bool(const HostAction&)> only = is_its;
  const std::string fault = co_await parts_.host.give_back(parts_.folder(), std::move(only));
  // What could not be put back stays in the journal for the VM's end.
  if (!fault.empty()) co_return;
  std::erase_if(state.host_changes, [&](const HostChange& change) {
    return !change.action.is_null() && is_its(host_action_from_json(change.action));
  });
}

void Hotplug::set_pending(const std::string& id, bool is_pending) {
  std::vector<std::string>& pending = parts_.state.pending_unplugs;
  const auto found = std::find(pending.begin(), pending.end(), id);
  if (is_pending == (found != pending.end())) return;
  if (is_pending) {
    pending.push_back(id);
  } else {
    pending.erase(found);
  }
  parts_.save();
}

}  // namespace vmrig
