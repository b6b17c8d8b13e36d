// A disk that is full: no file of this process can grow past a size.
#pragma once

#include <signal.h>
#include <sys/resource.h>

#include <cstdint>

namespace vmrig::testing {

// The kernel writes up to there, and refuses the rest (EFBIG), as a full disk does with ENOSPC.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(std::uint64_t bytes) {
    before_handler_ = ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, before_handler_);
  }

 private:
  rlimit before_{};
  void (*before_handler_)(int) = nullptr;
};

}  // namespace vmrig::testing
