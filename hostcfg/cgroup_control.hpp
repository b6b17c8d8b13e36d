// The effects behind actions on cgroups.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace vmrig {

// A seam: tests put groups of variables here. `group` is a group's folder. Functions that change
// something throw std::system_error, for the caller to say what it meant.
class CgroupControl {
 public:
  virtual ~CgroupControl() = default;

  virtual bool exists(const std::string& group) = 0;
  virtual void make(const std::string& group) = 0;
  // Processes that are still in it have some seconds to end, and are killed then. False: it can't
  // be removed, there are groups in it. True when there is none, too.
  virtual bool remove(const std::string& group) = 0;
  virtual std::string read(const std::string& group, const std::string& file) = 0;  // empty: none
  virtual void write(const std::string& group, const std::string& file,
                     const std::string& value) = 0;
  virtual std::vector<pid_t> processes(const std::string& group) = 0;
};

// This host's.
class LinuxCgroups final : public CgroupControl {
 public:
  bool exists(const std::string& group) override;
  void make(const std::string& group) override;
  bool remove(const std::string& group) override;
  std::string read(const std::string& group, const std::string& file) override;
  void write(const std::string& group, const std::string& file, const std::string& value) override;
  std::vector<pid_t> processes(const std::string& group) override;
};

}  // namespace vmrig
