#pragma once

#include <utility>

namespace qmp {

/// Sole owner of a file descriptor; closes it when destroyed.
class Fd {
 public:
  Fd() noexcept = default;
  /// Takes ownership of `fd`; a negative number means none.
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~Fd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  /// Gives ownership to the caller.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  /// Closes the held descriptor and takes `fd`.
  void reset(int fd = -1) noexcept;

 private:
  int fd_ = -1;
};

/// A close-on-exec duplicate of `fd`. Throws Error (closed) with errno's text.
Fd duplicate(int fd);

}  // namespace qmp
