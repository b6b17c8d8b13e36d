// Hotplug: threads come and go, with vCPUs and with NICs whose packets the kernel moves.
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/set_scheduler.hpp"
#include "hostcfg/thread_affinity.hpp"
#include "launcher/hotplug/hotplug.hpp"
#include "launcher/hotplug/qemu_refusal.hpp"
#include "launcher/vhost_threads.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

// QEMU lists them last first; the order of their indices is that of their topology.
std::vector<VcpuSlot> slots_of(const Json& answer) {
  std::vector<VcpuSlot> slots;
  for (auto entry = answer.rbegin(); entry != answer.rend(); ++entry) {
    VcpuSlot slot{.type = entry->at("type").get<std::string>(),
                  .props = entry->at("props"),
                  .id = {},
                  .is_free = !entry->contains("qom-path")};
    if (!slot.is_free) {
      const auto path = entry->at("qom-path").get<std::string>();
      const std::size_t slash = path.rfind('/');
      if (path.starts_with(kPeripherals)) slot.id = path.substr(slash + 1);
    }
    slots.push_back(std::move(slot));
  }
  return slots;
}

int count_present(const std::vector<VcpuSlot>& slots) {
  return static_cast<int>(std::count_if(slots.begin(), slots.end(),
                                        [](const VcpuSlot& slot) { return !slot.is_free; }));
}

Error set_vcpus_error(ExitStatus status, std::string cause, std::string mend) {
  return Error({.status = status,
                .operation = "set vcpus",
                .object = {},
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

}  // namespace

asio::awaitable<void> Hotplug::set_vcpus(int count, qmp::Deadline deadline) {
  const Turn::Holder turn = co_await vcpus_.take();
  QmpCommand question{"query-hotpluggable-cpus", Json::object()};
  const Json answer = co_await execute(std::move(question), deadline);
  const std::vector<VcpuSlot> slots = slots_of(answer);
  int present = count_present(slots);
  if (count > static_cast<int>(slots.size())) {
    throw set_vcpus_error(ExitStatus::kUsage,
                          fmt::format("{} are wanted, the VM has room for {}", count, slots.size()),
                          fmt::format(R"(start it with "cpu": {{"max_vcpus": {}}})", count));
  }
  std::exception_ptr fault;
  try {
    if (count > present) {
      co_await add_vcpus(slots, count - present, deadline);
    } else {
      co_await remove_vcpus(slots, present - count, deadline);
    }
  } catch (...) {
    fault = std::current_exception();
  }
  co_await update_threads(deadline);
  VmConfig now = config();
  now.cpu.vcpus =
      static_cast<int>(std::count_if(parts_.state.threads.begin(), parts_.state.threads.end(),
                                     [](const VmThread& thread) { return thread.role == "vcpu"; }));
  change_config(std::move(now));
  parts_.save();
  if (fault) std::rethrow_exception(fault);
}

asio::awaitable<void> Hotplug::add_vcpus(const std::vector<VcpuSlot>& slots, int wanted,
                                         qmp::Deadline deadline) {
  for (std::size_t index = 0; index < slots.size() && wanted > 0; ++index) {
    const VcpuSlot& slot = slots[index];
    if (!slot.is_free) continue;
    QmpCommand command{"device_add", slot.props};
    command.arguments["driver"] = slot.type;
    command.arguments["id"] = fmt::format("{}{}", kVcpuPrefix, index);
    try {
      (void)co_await execute(std::move(command), deadline);
    } catch (const qmp::Error& error) {
      throw qemu_refusal("add vCPU", std::to_string(index), error);
    }
    --wanted;
  }
}

asio::awaitable<void> Hotplug::remove_vcpus(const std::vector<VcpuSlot>& slots, int surplus,
                                            qmp::Deadline deadline) {
  std::vector<std::string> ids;
  for (auto slot = slots.rbegin(); slot != slots.rend(); ++slot) {
    if (!slot->id.empty() && static_cast<int>(ids.size()) < surplus) ids.push_back(slot->id);
  }
  if (static_cast<int>(ids.size()) < surplus) {
    throw set_vcpus_error(ExitStatus::kUsage,
                          fmt::format("only the {} vCPUs added since the start can go", ids.size()),
                          "start the VM with fewer vCPUs, and add the others when it runs");
  }
  for (const std::string& id : ids) co_await unplug(id, deadline);
}

// The record of the vCPUs' threads, by what QEMU has now; those that are new are pinned.
asio::awaitable<void> Hotplug::update_threads(qmp::Deadline deadline) {
  QmpCommand question{"query-cpus-fast", Json::object()};
  const Json vcpus = co_await execute(std::move(question), deadline);
  const PlacementRecord& placement = parts_.state.placement;
  std::vector<VmThread> threads;
  std::vector<VmThread> fresh;
  for (const Json& vcpu : vcpus) {
    const auto index = vcpu.at("cpu-index").get<std::size_t>();
    VmThread thread{.role = "vcpu",
                    .id = std::to_string(index),
                    .tid = vcpu.at("thread-id").get<pid_t>(),
                    .cpus = index < placement.vcpus.size() ? placement.vcpus[index] : CpuSet(),
                    .scheduler = config().cpu.scheduler};
    const auto known = std::find_if(
        parts_.state.threads.begin(), parts_.state.threads.end(), [&thread](const VmThread& old) {
          return old.role == "vcpu" && old.id == thread.id && old.tid == thread.tid;
        });
    if (known == parts_.state.threads.end()) fresh.push_back(thread);
    threads.push_back(std::move(thread));
  }
  pin_new_threads(fresh);
  for (const VmThread& thread : fresh) {
    if (!thread.scheduler.is_realtime()) continue;
    set_scheduler(thread.tid, thread.scheduler, fmt::format("vCPU {}", thread.id));
  }
  std::erase_if(parts_.state.threads, [](const VmThread& old) { return old.role == "vcpu"; });
  // After the emulator, before the iothreads.
  const auto place = std::find_if(parts_.state.threads.begin(), parts_.state.threads.end(),
                                  [](const VmThread& old) { return old.role != "emulator"; });
  parts_.state.threads.insert(place, threads.begin(), threads.end());
}

// A NIC has come or gone. A worker that can't be pinned runs on, where it is.
void Hotplug::update_vhost_threads() {
  VmState& state = parts_.state;
  std::vector<VmThread> now = vhost_threads(state.qemu.pid, state.placement.vhost, state.threads);
  std::vector<VmThread> fresh;
  for (const VmThread& worker : now) {
    const bool is_known = std::any_of(
        state.threads.begin(), state.threads.end(),
        [&worker](const VmThread& old) { return old.role == "vhost" && old.tid == worker.tid; });
    if (!is_known) fresh.push_back(worker);
  }
  try {
    pin_new_threads(fresh);
  } catch (const Error& error) {
    parts_.log(error.what());
  }
  std::erase_if(state.threads, [](const VmThread& old) { return old.role == "vhost"; });
  state.threads.insert(state.threads.end(), std::make_move_iterator(now.begin()),
                       std::make_move_iterator(now.end()));
}

void Hotplug::pin_new_threads(const std::vector<VmThread>& threads) {
  const PlacementRecord& placement = parts_.state.placement;
  const bool is_free_of_emulator =
      std::any_of(threads.begin(), threads.end(),
                  [](const VmThread& thread) { return !thread.cpus.empty(); }) ||
      !placement.emulator.empty();
  if (threads.empty() || !is_free_of_emulator) return;
  const Topology topology = Topology::of_this_host();
  // A thread that is to run anywhere has inherited the emulator's CPUs.
  const CpuSet anywhere = thread_affinity(0);
  for (const VmThread& thread : threads) {
    pin_thread(topology, thread.tid, thread.cpus.empty() ? anywhere : thread.cpus);
  }
}

}  // namespace vmrig
