#include "hostcfg/process_facts.hpp"

#include <linux/capability.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmrig {
namespace {

constexpr std::size_t kLimit = std::size_t{64} * 1024;

struct Status {
  std::optional<std::uint64_t> capabilities;
  std::optional<unsigned> user;
  CpuSet affinity;
  CpuSet nodes;
};

Status read_status(const FolderReader& root) {
  Status status;
  const std::string content = root.text("proc/self/status", kLimit).value_or(std::string{});
  std::string_view text = content;
  while (!text.empty()) {
    std::string_view line = take_line(text);
    const std::string_view key = take_word(line);
    if (key == "CapEff:") {
      status.capabilities = parse_number<std::uint64_t>(line, 16);
    } else if (key == "Uid:") {
      take_word(line);  // real
      status.user = parse_number<unsigned>(take_word(line));
    } else if (key == "Cpus_allowed_list:") {
      status.affinity = parse_cpulist(line).value_or(CpuSet{});
    } else if (key == "Mems_allowed_list:") {
      status.nodes = parse_cpulist(line).value_or(CpuSet{});
    }
  }
  return status;
}

// Capabilities of a user namespace count for what the namespace owns (its network), and not
// for the host's memory limits and mounts. user_namespaces(7)
// One that nobody has written a map for yet has an empty file; a kernel without them has none.
bool in_user_namespace(const std::optional<std::string>& map) {
  if (!map) return false;
  std::string_view text = *map;
  const std::string_view inside = take_word(text);
  const std::string_view outside = take_word(text);
  const std::string_view length = take_word(text);
  return inside != "0" || outside != "0" || length != "4294967295";
}

// "inside outside count" a line.
std::vector<IdRange> parse_map(std::string_view text) {
  std::vector<IdRange> ranges;
  while (!text.empty()) {
    std::string_view line = take_line(text);
    const auto first = parse_number<unsigned>(take_word(line));
    take_word(line);
    const auto count = parse_number<unsigned>(take_word(line));
    if (first && count && *count > 0) ranges.push_back({*first, *count});
  }
  return ranges;
}

// A user of a number has a group of the same.
std::vector<IdRange> common_ids(const std::vector<IdRange>& users,
                                const std::vector<IdRange>& groups) {
  std::vector<IdRange> common;
  for (const IdRange& a : users) {
    for (const IdRange& b : groups) {
      const std::uint64_t first = std::max(a.first, b.first);
      const std::uint64_t end =
          std::min(std::uint64_t{a.first} + a.count, std::uint64_t{b.first} + b.count);
      if (first >= end) continue;
      common.push_back({static_cast<unsigned>(first), static_cast<unsigned>(end - first)});
    }
  }
  std::sort(common.begin(), common.end(),
            [](const IdRange& a, const IdRange& b) { return a.first < b.first; });
  return common;
}

// The hard limit in a row "Max locked memory   8388608   unlimited   bytes"; the names have
// spaces in them, so it is the second word behind the name.
std::optional<std::string_view> hard_limit(std::string_view limits, std::string_view name) {
  while (!limits.empty()) {
    std::string_view line = take_line(limits);
    if (line.substr(0, name.size()) != name) continue;
    line.remove_prefix(name.size());
    take_word(line);
    return take_word(line);
  }
  return std::nullopt;
}

void read_limits(const FolderReader& root, HostFacts& facts) {
  const std::string limits = root.text("proc/self/limits", kLimit).value_or(std::string{});
  // A limit that is not told counts as the smallest, so that nothing is promised.
  facts.memlock_limit = Bytes{0};
  if (const auto text = hard_limit(limits, "Max locked memory ")) {
    const auto number = parse_number<std::uint64_t>(*text);
    if (*text == "unlimited") {
      facts.memlock_limit.reset();
    } else if (number) {
      facts.memlock_limit = Bytes{*number};
    }
  }
  if (const auto text = hard_limit(limits, "Max open files ")) {
    constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();
    facts.nofile_limit = std::min(parse_number<std::uint64_t>(*text).value_or(0), kMost);
  }
  if (const auto text = hard_limit(limits, "Max realtime priority ")) {
    constexpr int kHighest = 99;
    facts.rtprio_limit = *text == "unlimited" ? kHighest : parse_number<int>(*text).value_or(0);
    facts.rtprio_limit = std::clamp(facts.rtprio_limit, 0, kHighest);
  }
}

}  // namespace

CpuSet read_process_facts(const FolderReader& root, HostFacts& facts) {
  const Status status = read_status(root);
  facts.affinity = status.affinity;
  constexpr unsigned kNobody = 65534;
  facts.user_id = status.user.value_or(kNobody);
  const std::uint64_t held = status.capabilities.value_or(0);
  const auto has = [held](unsigned capability) { return ((held >> capability) & 1) != 0; };
  const std::optional<std::string> uids = root.text("proc/self/uid_map", kLimit);
  const std::optional<std::string> gids = root.text("proc/self/gid_map", kLimit);
  const bool over_host = !in_user_namespace(uids);
  facts.can_net_admin = has(CAP_NET_ADMIN);
  facts.can_sys_admin = over_host && has(CAP_SYS_ADMIN);
  facts.can_ipc_lock = over_host && has(CAP_IPC_LOCK);
  facts.can_sys_resource = over_host && has(CAP_SYS_RESOURCE);
  facts.can_sys_nice = over_host && has(CAP_SYS_NICE);
  // Over what has ids of the namespace, which is all that vmrig starts.
  facts.can_change_ids = has(CAP_SETUID) && has(CAP_SETGID);
  facts.can_kill = has(CAP_KILL);
  facts.can_sys_ptrace = has(CAP_SYS_PTRACE);
  facts.ids = common_ids(parse_map(uids.value_or("")), parse_map(gids.value_or("")));
  read_limits(root, facts);
  return status.nodes;
}

}  // namespace vmrig
