#include "launcher/child_fd_plan.hpp"

#include <fmt/format.h>

#include "launcher/command_line.hpp"

namespace vmrig {
namespace {

bool is_opened_by_path(FdSource::Kind kind) {
  return kind == FdSource::Kind::kImage || kind == FdSource::Kind::kLogFile;
}

}  // namespace

std::string ChildFdPlan::number(const FdSource& source, const std::string& origin) {
  const int number = kFirstChildFd + static_cast<int>(plan_.fds.size());
  plan_.fds.push_back({number, source, origin});
  return std::to_string(number);
}

std::string ChildFdPlan::path(const FdSource& source, const std::string& origin) {
  if (!plan_.user.is_confined) return source.name;
  const std::string fd = number(source, origin);
  if (source.kind == FdSource::Kind::kCopy) return "/proc/self/fd/" + fd;
  const bool is_read = source.kind == FdSource::Kind::kImage && !source.is_writable;
  plan_.arguments.push_back(
      {{"-add-fd", fmt::format("fd={0},set={0},opaque={1}:{2}", fd, is_read ? "ro" : "rw",
                               escape_commas(source.name))},
       origin});
  return "/dev/fdset/" + fd;
}

std::string ChildFdPlan::readable(const std::string& file, const HostFacts& facts,
                                  const std::string& origin) {
  const auto found = facts.paths.find(file);
  const bool is_readable =
      found == facts.paths.end() || may_reach(found->second, plan_.user.account, kMayRead);
  return is_readable ? file : path({FdSource::Kind::kCopy, file}, origin);
}

FdNaming ChildFdPlan::naming(const std::string& origin) {
  return [this, origin](const FdSource& source) {
    return is_opened_by_path(source.kind) ? path(source, origin) : number(source, origin);
  };
}

FdNaming ChildFdPlan::disk_naming(const std::string& id, const std::string& origin) {
  return [this, id, origin](const FdSource& source) {
    std::string name = path(source, origin);
    if (plan_.user.is_confined) plan_.disk_fds[id].push_back(plan_.fds.back().number);
    return name;
  };
}

}  // namespace vmrig
