// Starts a helper program in a cgroup, which posix_spawn can't do before glibc 2.39.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

namespace vmrig {

struct CgroupSpawn {
  std::string program;                   // a path
  std::vector<std::string> words;        // its name first
  std::vector<std::pair<int, int>> fds;  // source, number in the program; moved in this order
  std::string cgroup;                    // folder of a cgroup (v2)
};

// Starts the program in that cgroup, with these fds, standard input from /dev/null, a process group
// of its own, and no signal blocked or ignored: what it makes right after its start is in the
// cgroup, too. Other threads may run. The child is the caller's to wait for; none is left when this
// throws vmrig::Error.
pid_t spawn_in_cgroup(const CgroupSpawn& request);

}  // namespace vmrig
