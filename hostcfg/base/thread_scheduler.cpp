#include "hostcfg/base/thread_scheduler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace vmrig {

std::vector<std::string_view> enum_names(SchedulerPolicy) { return {"other", "fifo", "rr"}; }

void describe(Fields& fields, ThreadScheduler& scheduler) {
  constexpr int kHighest = 99;
  fields.optional("policy", "Scheduling policy: other, or the real-time ones fifo and rr.",
                  scheduler.policy);
  fields.optional("priority", "Real-time priority, 99 the most urgent.", scheduler.priority,
                  IntRule{0, kHighest});
  fields.rule([&](const Fields::Fault& fault) {
    if (scheduler.is_realtime() && scheduler.priority == 0) {
      fault("priority", "is needed with a real-time policy, from 1 to 99", R"("priority": 1)");
    } else if (!scheduler.is_realtime() && scheduler.priority != 0) {
      fault("priority", "is of no use with the policy \"other\"", R"("policy": "fifo")");
    }
  });
}

std::string to_string(const ThreadScheduler& scheduler) {
  const std::string_view policy = name_of(scheduler.policy);
  return scheduler.is_realtime() ? fmt::format("{} {}", policy, scheduler.priority)
                                 : std::string(policy);
}

Json to_json(const ThreadScheduler& scheduler) {
  return {{"policy", name_of(scheduler.policy)}, {"priority", scheduler.priority}};
}

ThreadScheduler thread_scheduler_from_json(const Json& json) {
  const auto policy = json.at("policy").get<std::string>();
  const std::vector<std::string_view> names = enum_names(SchedulerPolicy{});
  const auto found = std::find(names.begin(), names.end(), policy);
  if (found == names.end()) throw std::invalid_argument("unknown policy " + policy);
  return {.policy = static_cast<SchedulerPolicy>(found - names.begin()),
          .priority = json.at("priority").get<int>()};
}

}  // namespace vmrig
