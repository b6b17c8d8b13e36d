#include "hostcfg/sysfs.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <thread>
#include <utility>

#include "hostcfg/base/fd.hpp"
#include "hostcfg/base/retry.hpp"

namespace vmrig {

Sysfs::Sysfs(std::string root, Observer observer)
    : root_(std::move(root)), observer_(std::move(observer)) {
  if (root_.empty() || root_.back() != '/') root_ += '/';
}

void Sysfs::write(const std::string& file, const std::string& text) const {
  const std::string path = root_ + file;
  const Fd opened(
      retrying([&path] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY); }));
  if (!opened) throw std::system_error(errno, std::generic_category());
  const ssize_t put = retrying([&] { return ::write(opened.get(), text.data(), text.size()); });
  if (put < 0) throw std::system_error(errno, std::generic_category());
  if (observer_) observer_(file, text);
}

std::optional<std::string> Sysfs::read(const std::string& file) const {
  const Fd opened(::open((root_ + file).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!opened) return std::nullopt;
  std::array<char, 4096> buffer{};
  ssize_t got = 0;
  do {
    got = ::read(opened.get(), buffer.data(), buffer.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0) return std::nullopt;
  std::string text(buffer.data(), static_cast<std::size_t>(got));
  text.erase(text.find_last_not_of('\n') + 1);
  return text;
}

std::optional<std::string> Sysfs::link_name(const std::string& file) const {
  std::array<char, 4096> buffer{};
  const ssize_t got = ::readlink((root_ + file).c_str(), buffer.data(), buffer.size());
  if (got < 0 || static_cast<std::size_t>(got) == buffer.size()) return std::nullopt;
  const std::string target(buffer.data(), static_cast<std::size_t>(got));
  return target.substr(target.rfind('/') + 1);  // npos + 1 is 0
}

bool Sysfs::exists(const std::string& file) const {
  return ::access((root_ + file).c_str(), F_OK) == 0;
}

bool Sysfs::wait_until(const std::function<bool()>& condition) const {
  constexpr std::chrono::milliseconds kPause{5};
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kPause);
  }
  return true;
}

}  // namespace vmrig
