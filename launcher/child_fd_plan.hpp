// The fds that QEMU inherits, as a plan numbers them. Pure.
#pragma once

#include <string>

#include "devices/description.hpp"
#include "launcher/plan.hpp"

namespace vmrig {

// Adds to the plan's fds, and to its arguments where QEMU has to be told of one.
class ChildFdPlan {
 public:
  explicit ChildFdPlan(Plan& plan) : plan_(plan) {}

  std::string number(const FdSource& source, const std::string& origin);

  // A path for QEMU to open: the file's own where QEMU may do what vmrig may, else one that leads
  // to an fd. Source: qemu docs, -add-fd; the set has the fd's number.
  std::string path(const FdSource& source, const std::string& origin);

  // A file that QEMU reads by its path, or a copy of it.
  std::string readable(const std::string& file, const HostFacts& facts, const std::string& origin);

  FdNaming naming(const std::string& origin);
  // Of a storage device, whose fd sets go with it.
  FdNaming disk_naming(const std::string& id, const std::string& origin);

 private:
  Plan& plan_;
};

}  // namespace vmrig
