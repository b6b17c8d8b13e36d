// The limit that vmrig's populating is measured against: the least that gets hugepages.
//
//   populate_reference BYTES PAGE_BYTES THREADS
// Maps so many bytes of hugepages, has each thread populate an equal part by MADV_POPULATE_WRITE,
// and prints the microseconds that it took.
#include <sys/mman.h>

#include <bit>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace {

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value == 0) std::exit(2);
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::uint64_t bytes = number(argv[1]);
  const std::uint64_t page = number(argv[2]);
  const std::uint64_t threads = number(argv[3]);
  const auto begin = std::chrono::steady_clock::now();
  const auto size_flag = static_cast<unsigned>(std::countr_zero(page)) << 26;  // MAP_HUGE_SHIFT
  void* memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | static_cast<int>(size_flag), -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("mmap");
    return 1;
  }
  {
    std::vector<std::jthread> workers;
    const std::uint64_t pages = bytes / page;
    for (std::uint64_t i = 0; i < threads; ++i) {
      const std::uint64_t first = pages * i / threads * page;
      const std::uint64_t last = pages * (i + 1) / threads * page;
      workers.emplace_back([memory, first, last] {
        if (::madvise(static_cast<std::byte*>(memory) + first, last - first, MADV_POPULATE_WRITE) !=
            0) {
          std::perror("madvise");
          std::_Exit(1);
        }
      });
    }
  }
  const auto took = std::chrono::steady_clock::now() - begin;
  std::printf("%lld\n", static_cast<long long>(
                            std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
  return 0;
}
