#include "hostcfg/populate.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <climits>
#include <deque>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/retry.hpp"
#include "hostcfg/page_pool.hpp"
#include "hostcfg/sysfs.hpp"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace vmrig {
namespace {

constexpr std::uint64_t kChunkBytes = Bytes::mib(8).value;  // of a few milliseconds
constexpr std::size_t kMostThreads = 16;
constexpr int kMostNodes = 1024;

std::string operation_of(const MemoryRegion& region) {
  return fmt::format("get {} of {} in {} pages", to_string(region.size), region.origin,
                     to_string(region.page_size));
}

Error host_fault(const MemoryRegion& region, std::string cause, std::string mend) {
  return Error({.status = ExitStatus::kHost,
                .operation = operation_of(region),
                .object = {},
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

Fd make_memfd(const MemoryRegion& region) {
  const auto log2_page = static_cast<unsigned>(std::countr_zero(region.page_size.value));
  Fd fd(::memfd_create(region.name.c_str(),
                       MFD_CLOEXEC | MFD_HUGETLB | (log2_page << MFD_HUGE_SHIFT)));
  if (fd) return fd;
  const int number = errno;
  throw host_fault(region, fmt::format("memfd_create: {}", system_error({}, {}, number).what()),
                   number == ENODEV || number == EINVAL
                       ? "another \"hugepages\" size: this kernel has no pool of that"
                       : "");
}

Fd make_unnamed_file(const MemoryRegion& region) {
  Fd fd(retrying(
      [&region] { return ::open(region.mount.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); }));
  if (!fd && (errno == EOPNOTSUPP || errno == EISDIR)) {  // before Linux 5.6
    const std::string path = fmt::format("{}/.vmrig-{}-{}", region.mount, ::getpid(), region.name);
    fd = Fd(::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (fd) ::unlink(path.c_str());
  }
  if (fd) return fd;
  throw host_fault(region,
                   fmt::format("{} takes no file: {}", quote(region.mount),
                               system_error({}, {}, errno).parts().cause),
                   "run vmrig as root, or --set memory.backing=memfd");
}

Fd make_file(const MemoryRegion& region) {
  Fd fd = region.mount.empty() ? make_memfd(region) : make_unnamed_file(region);
  const bool is_given =
      !region.owner || ::fchown(fd.get(), *region.owner, static_cast<gid_t>(-1)) == 0;
  const auto size = static_cast<off_t>(region.size.value);
  if (!is_given || retrying([&] { return ::ftruncate(fd.get(), size); }) != 0) {
    throw host_fault(region, system_error({}, {}, errno).parts().cause, {});
  }
  return fd;
}

// For the calling thread, whose faults take pages by it: a mapping of a hugetlb file has no policy
// of its own before somebody gives it one. Returns errno.
int take_memory_from(int mode, const CpuSet& nodes) {
  constexpr int kBits = sizeof(unsigned long) * CHAR_BIT;
  std::array<unsigned long, kMostNodes / kBits> mask{};
  for (const int node : nodes.cpus()) {
    if (node >= kMostNodes) return EINVAL;
    mask.at(static_cast<std::size_t>(node / kBits)) |= 1UL << (node % kBits);
  }
  const long done = ::syscall(SYS_set_mempolicy, mode, mask.data(), kMostNodes);
  return done == 0 ? 0 : errno;
}

void run_on(int cpu) {
  cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(cpu) + 1);
  if (set == nullptr) return;
  const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpu) + 1);
  CPU_ZERO_S(bytes, set);
  CPU_SET_S(static_cast<std::size_t>(cpu), bytes, set);
  // Where it may not run there, it runs elsewhere: slower, and as well.
  (void)::sched_setaffinity(0, bytes, set);
  CPU_FREE(set);
}

// Pages first, first + step, … that come from the same nodes.
struct Share {
  CpuSet nodes;
  std::uint64_t first = 0;
  std::uint64_t step = 1;
  std::uint64_t pages = 0;
  std::atomic<std::uint64_t> next = 0;  // to be taken by a thread
  std::atomic<std::uint64_t> got = 0;
};

class Population {
 public:
  Population(const MemoryRegion& region, const MemoryFile& file, PopulateWatch& watch)
      : region_(region), file_(file), watch_(watch) {
    const std::uint64_t pages = region.size.value / region.page_size.value;
    const bool in_turn = region.policy == MemoryPolicy::kInterleave && region.nodes.size() > 1;
    const std::vector<int> nodes = region.nodes.cpus();
    const std::uint64_t step = in_turn ? nodes.size() : 1;
    for (std::uint64_t first = 0; first < step; ++first) {
      Share& share = shares_.emplace_back();
      share.nodes = in_turn ? CpuSet{nodes[first]} : region.nodes;
      share.first = first;
      share.step = step;
      share.pages = (pages + step - 1 - first) / step;
    }
  }

  void run() {
    const std::vector<int> cpus = region_.cpus.cpus();
    const std::uint64_t chunks = (region_.size.value + kChunkBytes - 1) / kChunkBytes;
    const std::size_t workers =
        std::min({std::max<std::size_t>(cpus.size(), 1), kMostThreads,
                  static_cast<std::size_t>(std::max<std::uint64_t>(chunks, 1))});
    {
      std::vector<std::jthread> threads;
      for (std::size_t i = 0; i < workers; ++i) {
        threads.emplace_back([this, i, cpu = cpus.empty() ? -1 : cpus[i]] {
          if (cpu >= 0) run_on(cpu);
          for (std::size_t turn = 0; turn < shares_.size() && goes_on(); ++turn) {
            take(shares_[(i + turn) % shares_.size()]);
          }
        });
      }
    }
    if (watch_.is_cancelled) {
      throw Error({.operation = operation_of(region_),
                   .object = {},
                   .cause = "it was asked to stop",
                   .mend = {}});
    }
    if (fault_ != 0) throw failure();
  }

 private:
  bool goes_on() const { return fault_ == 0 && !watch_.is_cancelled; }

  void fail(int error_number) {
    int none = 0;
    fault_.compare_exchange_strong(none, error_number);
  }

  int mode() const {
    return region_.policy == MemoryPolicy::kPreferred ? MPOL_PREFERRED : MPOL_BIND;
  }

  void take(Share& share) {
    if (!share.nodes.empty()) {
      if (const int number = take_memory_from(mode(), share.nodes)) return fail(number);
    }
    const std::uint64_t chunk = std::max<std::uint64_t>(1, kChunkBytes / region_.page_size.value);
    while (goes_on()) {
      const std::uint64_t begin = share.next.fetch_add(chunk);
      if (begin >= share.pages) return;
      const std::uint64_t end = std::min(begin + chunk, share.pages);
      // At once where the pages are neighbours; one by one to learn how many there are.
      if (share.step == 1 && get(begin, end - begin) == 0) {
        count(share, end - begin);
        continue;
      }
      for (std::uint64_t page = begin; page < end && !watch_.is_cancelled; ++page) {
        if (const int number = get(share.first + page * share.step, 1)) return fail(number);
        count(share, 1);
      }
    }
  }

  void count(Share& share, std::uint64_t pages) {
    share.got += pages;
    watch_.bytes += pages * region_.page_size.value;
  }

  // Returns errno.
  int get(std::uint64_t page, std::uint64_t pages) {
    const std::uint64_t offset = page * region_.page_size.value;
    const std::uint64_t length = pages * region_.page_size.value;
    while (!has_no_populate_) {
      if (::madvise(file_.begin() + offset, length, MADV_POPULATE_WRITE) == 0) return 0;
      if (errno == EINTR || errno == EAGAIN) continue;
      if (errno != EINVAL) return errno;
      has_no_populate_ = true;
    }
    while (::fallocate(file_.fd(), 0, static_cast<off_t>(offset), static_cast<off_t>(length)) !=
           0) {
      if (errno != EINTR) return errno;
    }
    return 0;
  }

  // EFAULT: the touch would have been a SIGBUS, which for hugetlb means that there is no page.
  bool is_shortage() const { return fault_ == EFAULT || fault_ == ENOMEM || fault_ == ENOSPC; }

  Error failure() const {
    if (!is_shortage()) {
      return host_fault(region_, system_error({}, {}, fault_).parts().cause, {});
    }
    const Sysfs sysfs;
    std::string cause;
    std::string mend;
    for (const Share& share : shares_) {
      const bool is_bound = share.nodes.size() == 1 && region_.policy != MemoryPolicy::kPreferred;
      const auto node = is_bound ? std::optional<int>(share.nodes.first()) : std::nullopt;
      const PagePool pool = read_page_pool(sysfs, node, region_.page_size).value_or(PagePool{});
      const std::uint64_t missing = share.pages - share.got;
      // Another node may only have been waiting for its turn when this ended.
      if (missing == 0 || (shares_.size() > 1 && pool.free >= missing)) continue;
      const std::string where = node ? fmt::format("node {}", *node) : std::string("this host");
      if (!cause.empty()) cause += "; ";
      cause += fmt::format("{} gave {} of the {} {} pages that are needed", where, share.got.load(),
                           share.pages, to_string(region_.page_size));
      if (pool.free > 0) {
        cause += fmt::format(
            " and keeps {} free ones: reserved by others, or beyond a limit of "
            "the mount's or the cgroup's",
            pool.free);
      }
      if (!mend.empty()) mend += " && ";
      mend += fmt::format("echo {} > /{}/nr_hugepages", pool.persistent() + missing,
                          page_pool_folder(node, region_.page_size));
    }
    if (cause.empty()) cause = "a node is short of pages";
    return host_fault(region_, std::move(cause), std::move(mend));
  }

  const MemoryRegion& region_;
  const MemoryFile& file_;
  PopulateWatch& watch_;
  std::deque<Share> shares_;
  std::atomic<int> fault_ = 0;
  std::atomic<bool> has_no_populate_ = false;
};

}  // namespace

// Without a reservation: the pages are taken now, each from its node. A reservation would count
// those of all nodes, and make surplus pages wherever there is room.
MemoryFile::MemoryFile(std::string name, Fd fd, std::size_t size)
    : name_(std::move(name)), fd_(std::move(fd)), size_(size) {
  mapping_ =
      ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_.get(), 0);
  if (mapping_ == MAP_FAILED) throw system_error("map memory", name_, errno);
  // QEMU is forked while this is mapped, and should not be given it twice.
  (void)::madvise(mapping_, size_, MADV_DONTFORK);
}

MemoryFile::MemoryFile(MemoryFile&& other) noexcept
    : name_(std::move(other.name_)),
      fd_(std::move(other.fd_)),
      mapping_(std::exchange(other.mapping_, nullptr)),
      size_(other.size_) {}

MemoryFile::~MemoryFile() {
  if (mapping_ != nullptr) ::munmap(mapping_, size_);
}

MemoryFile populate(const MemoryRegion& region, PopulateWatch& watch) {
  MemoryFile file(region.name, make_file(region), region.size.value);
  Population(region, file, watch).run();
  return file;
}

}  // namespace vmrig
