// vmrig with a state folder of a test's own, and the proof that nothing is left of it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hostcfg/base/json.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/temp_folder.hpp"

namespace vmrig::testing {

// The program under test: VMRIG of the environment, else the one of this build.
std::string vmrig_program();
std::string source_folder();
// A QEMU that works here: the path; empty when there is none.
std::string system_qemu();
// The accelerator for VMs whose guest need not run: kvm where /dev/kvm opens, else tcg.
std::string quick_accel();

// Everything that is started through it carries a mark in its environment, by which what is left
// over is found, whoever its parent is by then.
class VmGuard {
 public:
  VmGuard();
  VmGuard(const VmGuard&) = delete;
  VmGuard& operator=(const VmGuard&) = delete;
  ~VmGuard();  // kills what is left; `vmrig recover` puts the host back, which is checked

  const TempFolder& folder() const { return folder_; }
  const std::string& state_dir() const { return state_dir_; }
  const std::map<std::string, std::string>& environment() const { return environment_; }
  void set_environment(const std::string& name, const std::string& value);

  // A small VM without a guest OS: name, accel, 64 MiB, one serial port.
  Json config(const std::string& name) const;
  // Writes it below the folder; returns its path.
  std::string write_config(const Json& config, const std::string& file = {}) const;

  // vmrig with --state-dir and these words.
  CommandRequest request(std::vector<std::string> words) const;
  CommandResult vmrig(std::vector<std::string> words) const;
  Json vmrig_json(std::vector<std::string> words) const;  // what it printed; null unless status 0

  // Living processes (no zombies) that carry the mark.
  std::vector<pid_t> processes() const;
  // Those of them whose program is a QEMU.
  std::vector<pid_t> qemus() const;
  // Names in the state folder, without the lock.
  std::vector<std::string> remains() const;
  // True when no marked process lives and the state folder is empty, within a few seconds:
  // processes take a moment to go.
  bool nothing_left() const;

 private:
  TempFolder folder_;
  std::string state_dir_;
  std::map<std::string, std::string> environment_;
};

// True once `done` is, asked whenever the kernel may have news, at most for `within`.
bool eventually(const std::function<bool()>& done,
                std::chrono::milliseconds within = std::chrono::seconds(10));

}  // namespace vmrig::testing
