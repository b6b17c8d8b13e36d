// What a process may do, by the kernel's own word.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "hostcfg/folder_reader.hpp"

namespace vmrig {

struct ProcessRights {
  std::vector<unsigned> uids;    // real, effective, saved, file system
  std::vector<unsigned> gids;    // the same
  std::vector<unsigned> groups;  // supplementary ones
  std::uint64_t effective = 0;   // capabilities, a bit each
  std::uint64_t permitted = 0;
  std::uint64_t bounding = 0;
  bool no_new_privileges = false;
  int seccomp = 0;  // 0: none, 1: strict, 2: a filter
};

// nullopt: it is gone, or not to be seen. Source: proc_pid_status(5).
std::optional<ProcessRights> read_process_rights(const FolderReader& root, pid_t pid);

}  // namespace vmrig
