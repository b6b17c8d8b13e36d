#include "hostcfg/memory_lease.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "hostcfg/host_refusal.hpp"
#include "hostcfg/memory_region.hpp"

namespace vmrig {
namespace {

using Result = UndoLine::Result;

std::string pages_text(std::uint64_t pages, const ReservePages& action) {
  return fmt::format("{} {} page{} of node {}", pages, to_string(action.page_size),
                     pages == 1 ? "" : "s", action.node);
}

PagePool pool_of(MemoryControl& memory, const ReservePages& action) {
  const std::optional<PagePool> pool = memory.pool(action.node, action.page_size);
  if (pool) return *pool;
  throw host_refusal("reserve", describe(action), "there is no such pool");
}

}  // namespace

OldState ReadOldMemory::operator()(const ReservePages& action) const {
  OldState old;
  old.pool_pages = pool_of(memory, action).persistent();
  return old;
}

OldState ReadOldMemory::operator()(const MountHugetlbfs& /*action*/) const { return {}; }

void DoMemory::operator()(const ReservePages& action) const {
  const std::uint64_t before = pool_of(memory, action).persistent();
  memory.set_pool(action.node, action.page_size, before + action.pages);
  const std::uint64_t after = pool_of(memory, action).persistent();
  if (after >= before + action.pages) return;
  const std::uint64_t came = after - std::min(after, before);
  if (came > 0) memory.set_pool(action.node, action.page_size, after - came);
  throw host_refusal(
      "reserve", describe(action),
      fmt::format("{} came; the rest of the node's memory is in use or in pieces", came),
      fmt::format("echo 1 > /proc/sys/vm/compact_memory, or reserve them when the host boots: "
                  "hugepagesz={} hugepages={}:{}",
                  action.page_size == Bytes::gib(1) ? "1G" : "2M", action.node,
                  before + action.pages));
}

void DoMemory::operator()(const MountHugetlbfs& action) const {
  memory.mount_hugetlbfs(action.path, action.page_size);
}

UndoLine UndoMemory::operator()(const ReservePages& action) const {
  const std::optional<PagePool> pool = memory.pool(action.node, action.page_size);
  if (!pool) return {action, Result::kAsBefore, "the pool is gone"};
  const std::uint64_t now = pool->persistent();
  std::uint64_t ours = std::min(action.pages, now);
  if (stage == JournalEntry::Stage::kIntent) {
    // It may have been done, or half done. What others have added since can't be told from it.
    ours = std::min(ours, now - std::min(now, old.pool_pages));
    if (ours > 0 && rules.others_share && rules.others_share(action)) {
      return {action, Result::kLeft,
              fmt::format("the pool of {} was {} and is {}; other VMs reserve there, too: left",
                          pages_text(action.pages, action), old.pool_pages, now)};
    }
  }
  if (ours == 0) {
    return {action, Result::kAsBefore, fmt::format("no page of node {} to give back", action.node)};
  }
  memory.set_pool(action.node, action.page_size, now - ours);
  return {action, Result::kPutBack, pages_text(ours, action) + " given back"};
}

std::optional<OldState> UndoMemory::left_by(const ReservePages& action) const {
  const std::optional<PagePool> pool = memory.pool(action.node, action.page_size);
  if (!pool) return std::nullopt;
  OldState left;
  left.pool_pages = pool->persistent() - std::min(pool->persistent(), action.pages);
  return left;
}

UndoLine UndoMemory::operator()(const MountHugetlbfs& action) const {
  if (rules.others_share && rules.others_share(action)) {
    return {action, Result::kLeft, action.path + " stays mounted: another VM uses it"};
  }
  const bool was_mounted = memory.is_mounted(action.path);
  if (memory.unmount(action.path) == MemoryControl::Unmounted::kInUse) {
    // By somebody outside: it is to go when that one has let it go.
    return {action, Result::kFailed, action.path + " stays mounted: it is in use"};
  }
  if (!was_mounted) return {action, Result::kAsBefore, action.path + " is not mounted"};
  return {action, Result::kPutBack, action.path + " is unmounted"};
}

}  // namespace vmrig
