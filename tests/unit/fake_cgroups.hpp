// Cgroups without a kernel, as a seam for tests of the lease.
#pragma once

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "hostcfg/cgroup_control.hpp"
#include "hostcfg/checkpoint.hpp"

namespace vmrig::testing {

class FakeCgroups final : public CgroupControl {
 public:
  static constexpr const char* kControl = "cgroup.subtree_control";

  std::map<std::string, std::map<std::string, std::string>> groups;  // files, by folder
  std::map<std::string, std::set<pid_t>> members;
  std::string root = "/cg";  // where processes may be beside groups
  std::string refuse;        // a write to this file fails

  FakeCgroups() { groups[root]; }

  bool exists(const std::string& group) override { return groups.count(group) != 0; }
  void make(const std::string& group) override {
    checkpoint("before");
    if (exists(group)) throw std::system_error(EEXIST, std::generic_category());
    groups[group];
    checkpoint("after");
  }
  bool remove(const std::string& group) override {
    if (!exists(group)) return true;
    for (const auto& [name, files] : groups) {
      if (name.starts_with(group + "/")) return false;
    }
    checkpoint("before");
    members.erase(group);
    groups.erase(group);
    checkpoint("after");
    return true;
  }
  std::string read(const std::string& group, const std::string& file) override {
    const auto found = groups.find(group);
    if (found == groups.end()) return {};
    const auto content = found->second.find(file);
    return content == found->second.end() ? std::string() : content->second;
  }
  void write(const std::string& group, const std::string& file, const std::string& value) override {
    checkpoint("before");
    if (!exists(group)) throw std::system_error(ENOENT, std::generic_category());
    if (file == refuse) throw std::system_error(EINVAL, std::generic_category());
    if (file == kControl) {
      control(group, value);
    } else if (file == "cgroup.procs") {
      for (auto& [name, pids] : members) pids.erase(std::stoi(value));
      members[group].insert(std::stoi(value));
    } else if (file == "io.max") {
      limit(groups[group][file], value);
    } else {
      groups[group][file] = value;
    }
    checkpoint("after");
  }
  std::vector<pid_t> processes(const std::string& group) override {
    const std::set<pid_t>& pids = members[group];
    return {pids.begin(), pids.end()};
  }

  // What a test compares.
  std::string shown() const {
    std::string text;
    for (const auto& [name, files] : groups) {
      text += name;
      for (const auto& [file, value] : files) {
        if (!value.empty()) text += " " + file + "=" + value;
      }
      const auto found = members.find(name);
      if (found != members.end()) {
        for (const pid_t pid : found->second) text += " " + std::to_string(pid);
      }
      text += "\n";
    }
    return text;
  }

 private:
  void control(const std::string& group, const std::string& value) {
    if (group != root && !members[group].empty() && value.find('+') != std::string::npos) {
      throw std::system_error(EBUSY, std::generic_category());
    }
    std::set<std::string> now;
    std::istringstream old(groups[group][kControl]);
    for (std::string word; old >> word;) now.insert(word);
    std::istringstream words(value);
    for (std::string word; words >> word;) {
      if (word.front() == '+') {
        now.insert(word.substr(1));
        continue;
      }
      for (const auto& [name, files] : groups) {
        const auto handed = files.find(kControl);
        const bool is_below = name.starts_with(group + "/") && handed != files.end();
        if (is_below && handed->second.find(word.substr(1)) != std::string::npos) {
          throw std::system_error(EBUSY, std::generic_category());
        }
      }
      now.erase(word.substr(1));
    }
    std::string text;
    for (const std::string& word : now) text += (text.empty() ? "" : " ") + word;
    groups[group][kControl] = text;
  }

  static void limit(std::string& content, const std::string& value) {
    const std::string device = value.substr(0, value.find(' '));
    std::istringstream lines(content);
    std::string kept;
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with(device + " ")) kept += (kept.empty() ? "" : "\n") + line;
    }
    const bool is_none = value.find("=max") != std::string::npos &&
                         value.find_first_of("0123456789", device.size()) == std::string::npos;
    if (!is_none) kept += (kept.empty() ? "" : "\n") + value;
    content = kept;
  }
};

}  // namespace vmrig::testing
