// How a helper program (ovs-vsctl, passt) is started: the attributes and file actions of
// posix_spawn(3). QEMU has a way of its own, in launcher/spawn.hpp.
#pragma once

#include <spawn.h>

#include <string>
#include <vector>

namespace vmrig {

// Starts with: standard input from /dev/null, and no signal blocked or ignored (what this process
// does with SIGPIPE and SIGCHLD is not the program's affair). Owns what posix_spawn allocates.
class SpawnSettings {
 public:
  SpawnSettings();
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings();

  // The program has this fd under that number. The fd has to be open until the spawn.
  void pass(int fd, int number);
  // A process group of its own: a Ctrl-C at vmrig's terminal does not reach it.
  void lead_group();

  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

// A list as exec(2) takes it. The words have to outlive it.
std::vector<char*> exec_list(std::vector<std::string>& words);

}  // namespace vmrig
