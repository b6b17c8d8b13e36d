#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include <linux/magic.h>

#include "hostcfg/base/error.hpp"
#include "hostcfg/checkpoint.hpp"
#include "hostcfg/files.hpp"
#include "hostcfg/host_refusal.hpp"
#include "hostcfg/memory_control.hpp"
#include "hostcfg/memory_region.hpp"

namespace vmrig {

// Kernels without NUMA have one pool for all.
std::optional<int> LinuxMemory::node_of_pool(int node) const {
  if (sysfs_.exists("sys/devices/system/node")) return node;
  return std::nullopt;
}

std::optional<PagePool> LinuxMemory::pool(int node, Bytes page_size) {
  return read_page_pool(sysfs_, node_of_pool(node), page_size);
}

void LinuxMemory::set_pool(int node, Bytes page_size, std::uint64_t pages) {
  const std::string file = page_pool_folder(node_of_pool(node), page_size) + "/nr_hugepages";
  checkpoint("before pool");
  try {
    sysfs_.write(file, std::to_string(pages));
  } catch (const std::system_error& fault) {
    throw host_refusal("change the pool of hugepages", "/" + file, fault.code().message(),
                       "run vmrig as root");
  }
  checkpoint("after pool");
}

bool LinuxMemory::is_mounted(const std::string& path) {
  struct statfs status {};
  return ::statfs(path.c_str(), &status) == 0 && status.f_type == HUGETLBFS_MAGIC;
}

void LinuxMemory::mount_hugetlbfs(const std::string& path, Bytes page_size) {
  if (is_mounted(path)) return;
  checkpoint("before mount");
  (void)ensure_private_folder(path);
  const std::string options = fmt::format("pagesize={},mode=0700", page_size.value);
  if (::mount("vmrig", path.c_str(), "hugetlbfs", MS_NOSUID | MS_NODEV, options.c_str()) != 0) {
    const int number = errno;
    (void)::rmdir(path.c_str());
    throw host_refusal("mount a hugetlbfs on", path, std::generic_category().message(number),
                       "run vmrig as root, or --set memory.backing=memfd");
  }
  checkpoint("after mount");
}

MemoryControl::Unmounted LinuxMemory::unmount(const std::string& path) {
  checkpoint("before unmount");
  while (is_mounted(path)) {
    if (::umount2(path.c_str(), UMOUNT_NOFOLLOW) == 0) continue;
    if (errno == EBUSY) return Unmounted::kInUse;
    throw host_refusal("unmount", path, std::generic_category().message(errno));
  }
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) {
    throw host_refusal("remove the folder", path, std::generic_category().message(errno));
  }
  checkpoint("after unmount");
  return Unmounted::kYes;
}

}  // namespace vmrig
