// What VMs have done between two looks at them.
#pragma once

#include <sys/types.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/json.hpp"
#include "launcher/metrics/vm_reading.hpp"

namespace vmrig {

// Shares are of one CPU's time: 1 is all of it.
struct Activity {
  double run = 0;
  double wait = 0;                   // ready to run, and without a CPU
  double involuntary = 0;            // context switches a second
  std::optional<double> exits = {};  // of KVM, a second; none: not told
};

struct ThreadActivity {
  std::string role;
  std::string id;
  pid_t tid = -1;     // -1: several threads together
  int last_cpu = -1;  // -1: several threads together
  Activity activity;
};

struct VmActivity {
  std::string name;
  VmCondition condition = VmCondition::kStale;
  pid_t qemu = -1;
  bool answers = false;  // to QMP
  Bytes memory;          // of the host
  Activity activity;     // of all its threads
  std::vector<ThreadActivity> threads;
};

enum class ActivityOrder { kRun, kWait, kInvoluntary, kExits, kName };

// By their number.
inline constexpr std::array<std::string_view, 5> kActivityOrders = {"cpu", "wait", "switches",
                                                                    "exits", "name"};

// nullopt when there is no such order.
std::optional<ActivityOrder> activity_order_from(const std::string& name);

// Of the VMs in `after`; one that is not in `before`, or has another QEMU now, has done nothing
// yet. The most active VM comes first, and so do its threads. QEMU's passing helpers are one thread
// here.
std::vector<VmActivity> activity_between(const std::vector<VmReading>& before,
                                         const std::vector<VmReading>& after, ActivityOrder order);

Json to_json(const VmActivity& vm);

}  // namespace vmrig
