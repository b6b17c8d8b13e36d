// More hugepages for a test, which go again with it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "hostcfg/base/fd.hpp"

namespace vmrig::testing {

// 2MiB pages of node 0 (or of a host without nodes). The pool is the host's: of several test
// programs one has it at a time.
class PagePoolGuard {
 public:
  explicit PagePoolGuard(std::uint64_t pages);
  PagePoolGuard(const PagePoolGuard&) = delete;
  PagePoolGuard& operator=(const PagePoolGuard&) = delete;
  ~PagePoolGuard();

  // Why the pages are not there: no right, no room; empty when they are.
  const std::string& fault() const { return fault_; }
  std::uint64_t total() const { return read("nr_hugepages"); }
  std::uint64_t free() const { return read("free_hugepages"); }

 private:
  std::uint64_t read(const char* name) const;
  void write(std::uint64_t pages) const;

  std::shared_ptr<Fd> lock_;
  std::string folder_;
  std::uint64_t before_ = 0;
  std::string fault_;
};

}  // namespace vmrig::testing
