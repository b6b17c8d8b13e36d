// How the kernel schedules a thread: as any other, or ahead of all that are.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/json.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

enum class SchedulerPolicy { kOther, kFifo, kRr };

std::vector<std::string_view> enum_names(SchedulerPolicy);  // "other", "fifo", "rr"

// Source: sched(7).
struct ThreadScheduler {
  SchedulerPolicy policy = SchedulerPolicy::kOther;
  int priority = 0;  // 1 to 99 with fifo and rr, 99 the most urgent; 0 with other

  bool is_realtime() const { return policy != SchedulerPolicy::kOther; }
  bool operator==(const ThreadScheduler&) const = default;
};

void describe(Fields& fields, ThreadScheduler& scheduler);

std::string to_string(const ThreadScheduler& scheduler);  // "other", "fifo 10"

Json to_json(const ThreadScheduler& scheduler);
ThreadScheduler thread_scheduler_from_json(const Json& json);  // throws what Json throws

}  // namespace vmrig
