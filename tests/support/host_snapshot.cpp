#include "tests/support/host_snapshot.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <set>

#include "tests/support/network_sandbox.hpp"
#include "tests/support/temp_folder.hpp"

namespace vmrig::testing {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> entries_of(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// Who may use a file.
std::string access_of(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return {};
  std::string line =
      fmt::format("file {} {}:{} {:o}", path, status.st_uid, status.st_gid, status.st_mode);
  std::array<unsigned char, 1024> acl;
  const ssize_t size = ::getxattr(path.c_str(), "system.posix_acl_access", acl.data(), acl.size());
  for (ssize_t i = 0; i < size; ++i)
    line += fmt::format("{:02x}", acl.at(static_cast<std::size_t>(i)));
  return line + "\n";
}

std::string pools() {
  std::string text;
  for (const std::string& node : entries_of("/sys/devices/system/node")) {
    for (const std::string& pool : entries_of(node + "/hugepages")) {
      text += fmt::format("pool {} {}", pool, read_text(pool + "/nr_hugepages"));
    }
  }
  return text;
}

std::string mounts() {
  std::ifstream file("/proc/self/mounts");
  std::set<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    // Of all else, some may go with a folder that another namespace removes.
    if (line.find("hugetlbfs") != std::string::npos) lines.insert("mount " + line + "\n");
  }
  std::string text;
  for (const std::string& line : lines) text += line;
  return text;
}

std::string cgroups() {
  std::set<std::string> folders;
  std::error_code error;
  for (auto entry = fs::recursive_directory_iterator("/sys/fs/cgroup", error);
       !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (entry->is_directory(error)) folders.insert(entry->path().string());
  }
  std::string text;
  for (const std::string& folder : folders) {
    // Of vmrig's alone: a system's own come and go.
    if (folder.find("vmrig") != std::string::npos) text += "cgroup " + folder + "\n";
  }
  return text + "handed on " + read_text("/sys/fs/cgroup/cgroup.subtree_control");
}

}  // namespace

std::string host_snapshot(const std::vector<std::string>& files) {
  std::string text = network_snapshot() + pools() + mounts() + cgroups();
  std::vector<std::string> nodes = {"/dev/kvm", "/dev/net/tun", "/dev/vhost-net", "/dev/hugepages"};
  for (const std::string& node : entries_of("/dev/vfio")) nodes.push_back(node);
  nodes.insert(nodes.end(), files.begin(), files.end());
  for (const std::string& node : nodes) text += access_of(node);
  return text;
}

}  // namespace vmrig::testing
