// A service manager that only listens.
#pragma once

#include <chrono>
#include <string>

#include "hostcfg/base/fd.hpp"

namespace vmrig::testing {

class FakeManager {
 public:
  // Bound to a path, or to an abstract name behind an '@'.
  explicit FakeManager(std::string address);

  const std::string& address() const { return address_; }
  // The next message; empty when none has come.
  std::string heard() const;
  // The first message that has `part`; empty when none comes in time. Those before it are dropped.
  std::string wait_for(const std::string& part,
                       std::chrono::milliseconds within = std::chrono::seconds(20)) const;

 private:
  std::string address_;
  Fd socket_;
};

}  // namespace vmrig::testing
