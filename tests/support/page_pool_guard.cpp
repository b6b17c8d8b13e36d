#include "tests/support/page_pool_guard.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <filesystem>
#include <fstream>

namespace vmrig::testing {

namespace {

// Of all guards of this process, as long as there is one.
std::shared_ptr<Fd> pool_lock() {
  static std::weak_ptr<Fd> held;
  if (std::shared_ptr<Fd> lock = held.lock()) return lock;
  auto lock = std::make_shared<Fd>(
      ::open("/sys/kernel/mm/hugepages/hugepages-2048kB", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (*lock) (void)::flock(lock->get(), LOCK_EX);
  held = lock;
  return lock;
}

}  // namespace

PagePoolGuard::PagePoolGuard(std::uint64_t pages) : lock_(pool_lock()) {
  folder_ = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB";
  if (!std::filesystem::exists(folder_)) folder_ = "/sys/kernel/mm/hugepages/hugepages-2048kB";
  before_ = total();
  if (pages == 0) return;
  write(before_ + pages);
  const std::uint64_t came = total() - before_;
  if (came < pages) fault_ = fmt::format("{} of {} 2MiB pages can be had", came, pages);
}

PagePoolGuard::~PagePoolGuard() { write(before_); }

std::uint64_t PagePoolGuard::read(const char* name) const {
  std::ifstream file(folder_ + "/" + name);
  std::uint64_t value = 0;
  file >> value;
  return value;
}

void PagePoolGuard::write(std::uint64_t pages) const {
  std::ofstream file(folder_ + "/nr_hugepages");
  file << pages << std::flush;
}

}  // namespace vmrig::testing
