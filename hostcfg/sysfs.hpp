// Writes attributes below a root that tests can swap, and reads back what came of it.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace vmrig {

class Sysfs {
 public:
  // Tests play the kernel here: called after each write with the attribute's path below the root.
  using Observer = std::function<void(const std::string& file, const std::string& text)>;

  explicit Sysfs(std::string root = "/", Observer observer = {});

  const std::string& root() const { return root_; }

  // Paths are relative to the root ("sys/bus/pci/drivers_probe"). One write(2), because the kernel
  // takes each as a whole. Throws std::system_error, for the caller to say what it meant.
  void write(const std::string& file, const std::string& text) const;

  std::optional<std::string> read(const std::string& file) const;
  // The last part of where a symlink points: the name of a driver, a device, a group.
  std::optional<std::string> link_name(const std::string& file) const;
  bool exists(const std::string& file) const;

  // Asks `condition` until it holds; false at the deadline. sysfs tells nobody of its changes.
  bool wait_until(const std::function<bool()>& condition) const;

 private:
  static constexpr std::chrono::seconds kDeadline{10};

  std::string root_;
  Observer observer_;
};

}  // namespace vmrig
