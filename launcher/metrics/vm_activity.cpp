#include "launcher/metrics/vm_activity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "launcher/metrics/vm_metrics.hpp"

namespace vmrig {
namespace {

using Seconds = std::chrono::duration<double>;

double difference(std::uint64_t later, std::uint64_t earlier) {
  return static_cast<double>(later - std::min(later, earlier));
}

// The first look at each thread of the same QEMU.
std::map<pid_t, ThreadUse> uses_of(const VmReading* reading) {
  std::map<pid_t, ThreadUse> uses;
  if (reading == nullptr) return uses;
  for (const VmThreadUse& thread : reading->kernel.threads) uses[thread.use.tid] = thread.use;
  return uses;
}

Activity activity_of(const ThreadUse& before, const ThreadUse& after, double seconds) {
  constexpr double kSecondNs = 1e9;
  return {.run = difference(after.run_ns, before.run_ns) / kSecondNs / seconds,
          .wait = difference(after.wait_ns, before.wait_ns) / kSecondNs / seconds,
          .involuntary = difference(after.involuntary, before.involuntary) / seconds};
}

void add(Activity& sum, const Activity& part) {
  sum.run += part.run;
  sum.wait += part.wait;
  sum.involuntary += part.involuntary;
  if (part.exits) sum.exits = sum.exits.value_or(0) + *part.exits;
}

// By vCPU, a second.
std::map<std::string, double> exits_between(const VmReading* before, const VmReading& after) {
  std::map<std::string, double> rates;
  if (before == nullptr || !before->qemu || !after.qemu) return rates;
  const double seconds = Seconds(after.qemu->at - before->qemu->at).count();
  const std::map<std::string, double> earlier = kvm_exits(*before->qemu);
  for (const auto& [vcpu, count] : kvm_exits(*after.qemu)) {
    const auto found = earlier.find(vcpu);
    if (found == earlier.end() || seconds <= 0) continue;
    rates[vcpu] = std::max(0.0, count - found->second) / seconds;
  }
  return rates;
}

bool is_same_qemu(const VmReading& one, const VmReading& other) {
  return one.entry.state && other.entry.state && one.entry.state->qemu == other.entry.state->qemu;
}

double key_of(const Activity& activity, ActivityOrder order) {
  switch (order) {
    case ActivityOrder::kRun:
      return activity.run;
    case ActivityOrder::kWait:
      return activity.wait;
    case ActivityOrder::kInvoluntary:
      return activity.involuntary;
    case ActivityOrder::kExits:
      return activity.exits.value_or(0);
    case ActivityOrder::kName:
      break;
  }
  return 0;
}

template <typename Item>
void sort_by(std::vector<Item>& items, ActivityOrder order) {
  std::stable_sort(items.begin(), items.end(), [order](const Item& a, const Item& b) {
    return key_of(a.activity, order) > key_of(b.activity, order);
  });
}

// The kernel's account of a thread alone is no activity yet: with what it had before, it is.
std::vector<ThreadActivity> threads_between(const VmReading* before, const VmReading& after) {
  std::vector<ThreadActivity> threads;
  ThreadActivity others{.role = kOtherThreads, .id = {}, .tid = -1, .last_cpu = -1, .activity = {}};
  std::size_t other_count = 0;
  const std::map<pid_t, ThreadUse> earlier = uses_of(before);
  const std::map<std::string, double> exits = exits_between(before, after);
  const double seconds =
      before == nullptr ? 0 : Seconds(after.kernel.at - before->kernel.at).count();
  for (const VmThreadUse& thread : after.kernel.threads) {
    Activity activity;
    const auto found = earlier.find(thread.use.tid);
    if (found != earlier.end() && seconds > 0) {
      activity = activity_of(found->second, thread.use, seconds);
    }
    if (thread.role == kOtherThreads) {
      ++other_count;
      add(others.activity, activity);
      continue;
    }
    const auto rate = thread.role == "vcpu" ? exits.find(thread.id) : exits.end();
    if (rate != exits.end()) activity.exits = rate->second;
    threads.push_back({.role = thread.role,
                       .id = thread.id,
                       .tid = thread.use.tid,
                       .last_cpu = thread.use.last_cpu,
                       .activity = activity});
  }
  others.id = std::to_string(other_count);
  if (other_count > 0) threads.push_back(std::move(others));
  return threads;
}

Json number_or_null(std::optional<double> number) { return number ? Json(*number) : Json(nullptr); }

void put(Json& json, const Activity& activity) {
  json["run"] = activity.run;
  json["wait"] = activity.wait;
  json["involuntary_per_s"] = activity.involuntary;
  json["exits_per_s"] = number_or_null(activity.exits);
}

Json to_json(const ThreadActivity& thread) {
  Json json = {{"role", thread.role},
               {"id", thread.id},
               {"tid", thread.tid > 0 ? Json(thread.tid) : Json(nullptr)},
               {"last_cpu", thread.last_cpu >= 0 ? Json(thread.last_cpu) : Json(nullptr)}};
  put(json, thread.activity);
  return json;
}

}  // namespace

std::optional<ActivityOrder> activity_order_from(const std::string& name) {
  const auto found = std::find(kActivityOrders.begin(), kActivityOrders.end(), name);
  if (found == kActivityOrders.end()) return std::nullopt;
  return static_cast<ActivityOrder>(found - kActivityOrders.begin());
}

std::vector<VmActivity> activity_between(const std::vector<VmReading>& before,
                                         const std::vector<VmReading>& after, ActivityOrder order) {
  std::vector<VmActivity> vms;
  for (const VmReading& reading : after) {
    const auto same = std::find_if(before.begin(), before.end(), [&reading](const VmReading& old) {
      return old.entry.name == reading.entry.name && is_same_qemu(old, reading);
    });
    VmActivity vm;
    vm.name = reading.entry.name;
    vm.condition = reading.entry.condition;
    if (reading.entry.qemu_alive) vm.qemu = reading.entry.state->qemu.pid;
    vm.answers = reading.qemu.has_value();
    if (reading.kernel.qemu) vm.memory = reading.kernel.qemu->resident();
    vm.threads = threads_between(same == before.end() ? nullptr : &*same, reading);
    for (const ThreadActivity& thread : vm.threads) add(vm.activity, thread.activity);
    sort_by(vm.threads, order);
    vms.push_back(std::move(vm));
  }
  sort_by(vms, order);
  return vms;
}

Json to_json(const VmActivity& vm) {
  Json threads = Json::array();
  for (const ThreadActivity& thread : vm.threads) threads.push_back(to_json(thread));
  Json json = {{"name", vm.name},
               {"state", condition_name(vm.condition)},
               {"pid", vm.qemu > 0 ? Json(vm.qemu) : Json(nullptr)},
               {"answers", vm.answers},
               {"memory_bytes", vm.memory.value},
               {"threads", std::move(threads)}};
  put(json, vm.activity);
  return json;
}

}  // namespace vmrig
