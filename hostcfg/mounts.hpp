// The mounts that facts are about: hugetlbfs, and the cgroup hierarchies.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/facts.hpp"

namespace vmrig {

struct Mount {
  std::string root;   // the folder of the file system that is mounted
  std::string point;  // where
  std::string type;   // "hugetlbfs", "cgroup", "cgroup2"
  std::string super_options;
};

// The mounts of these three types in the text of /proc/self/mountinfo, where one hides another
// the upper one only. Lines that make no sense are left out.
// Source: proc_pid_mountinfo(5).
std::vector<Mount> parse_mountinfo(std::string_view text);

// Source: linux fs/hugetlbfs/inode.c hugetlbfs_show_options ("pagesize=1024M").
std::vector<HugetlbfsMount> hugetlbfs_mounts(const std::vector<Mount>& mounts);

// Whether `name` is one of the comma-separated `options`.
bool has_option(std::string_view options, std::string_view name);

}  // namespace vmrig
