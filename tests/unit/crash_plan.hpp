// A crash at a checkpoint of the test's choice. The checkpoint() of the unit tests
// (journal_lease.cpp) passes here.
#pragma once

#include <optional>

namespace vmrig::testing {

struct Crash {};

// Counts down to a crash; none: no crash.
class CrashPlan {
 public:
  static CrashPlan& instance() {
    static CrashPlan plan;
    return plan;
  }
  void crash_at(int step) { left_ = step; }
  void never() { left_.reset(); }
  void pass() {
    if (!left_) return;
    if (--*left_ > 0) return;
    left_.reset();
    throw Crash{};
  }

 private:
  std::optional<int> left_;
};

}  // namespace vmrig::testing
