#include "hostcfg/huge_memory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <thread>
#include <vector>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

constexpr std::uint64_t kMostThreads = 4;
constexpr int kMostNodes = 1024;

Error shortage(Bytes size, Bytes page_size, std::optional<int> node, int error_number) {
  const std::string where = node ? fmt::format("node {}", *node) : "this host";
  const std::string pool =
      fmt::format("hugepages/hugepages-{}kB/nr_hugepages", page_size.value >> 10);
  return Error(
      {.status = ExitStatus::kHost,
       .operation = fmt::format("get {} in {} pages", to_string(size), to_string(page_size)),
       .object = {},
       .cause = error_number == ENOSPC || error_number == ENOMEM
                    ? fmt::format("{} has too few of them", where)
                    : system_error({}, {}, error_number).parts().cause,
       .mend = node ? fmt::format("echo N > /sys/devices/system/node/node{}/{}", *node, pool)
                    : fmt::format("echo N > /sys/kernel/mm/{}", pool)});
}

// For the calling thread. hugetlbfs allocates by the policy of the task that asks.
int bind_memory_to(int node) {
  constexpr int kBits = sizeof(unsigned long) * CHAR_BIT;
  std::array<unsigned long, kMostNodes / kBits> mask{};
  mask.at(static_cast<std::size_t>(node / kBits)) = 1UL << (node % kBits);
  const long done = ::syscall(SYS_set_mempolicy, MPOL_BIND, mask.data(), kMostNodes);
  return done == 0 ? 0 : errno;
}

int populate(int fd, std::uint64_t offset, std::uint64_t length) {
  while (::fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

}  // namespace

Fd make_huge_memory(Bytes size, Bytes page_size, std::optional<int> node) {
  const auto log2_page = static_cast<unsigned>(std::countr_zero(page_size.value));
  Fd fd(::memfd_create("vmrig-memory", MFD_CLOEXEC | MFD_HUGETLB | (log2_page << MFD_HUGE_SHIFT)));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(size.value)) != 0) {
    throw shortage(size, page_size, node, errno);
  }
  const std::uint64_t pages = size.value / page_size.value;
  const std::uint64_t workers = std::clamp<std::uint64_t>(pages, 1, kMostThreads);
  std::atomic<int> fault = 0;
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t worker = 0; worker < workers; ++worker) {
      const std::uint64_t begin = pages * worker / workers * page_size.value;
      const std::uint64_t end = pages * (worker + 1) / workers * page_size.value;
      threads.emplace_back([&fault, &fd, node, begin, end] {
        int error_number = node ? bind_memory_to(*node) : 0;
        if (error_number == 0) error_number = populate(fd.get(), begin, end - begin);
        int none = 0;
        if (error_number != 0) fault.compare_exchange_strong(none, error_number);
      });
    }
  }
  if (fault != 0) throw shortage(size, page_size, node, fault);
  return fd;
}

}  // namespace vmrig
