#include "launcher/cli/progress_line.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace vmrig {
namespace {

constexpr std::chrono::seconds kPatience{1};
constexpr std::chrono::seconds kTick{1};
constexpr std::string_view kErase = "\r\x1b[K";  // back to the line's begin, and clear it

void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::write(STDERR_FILENO, text.data(), text.size());
    if (put <= 0) return;  // nobody needs it
    text.remove_prefix(static_cast<std::size_t>(put));
  }
}

// A line that wraps could not be erased.
std::size_t columns() {
  constexpr std::size_t kDefault = 80;
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kDefault;
  return size.ws_col;
}

// Signals are for the thread that waits.
std::thread start_without_signals(auto work) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(work));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace

ProgressLine::ProgressLine(std::string what, std::optional<std::chrono::milliseconds> limit)
    : what_(std::move(what)) {
  if (::isatty(STDERR_FILENO) != 1) return;
  if (limit)
    limit_ = fmt::format(" of {}", std::chrono::ceil<std::chrono::seconds>(*limit).count());
  try {
    thread_ = start_without_signals([this] { keep_showing(); });
  } catch (const std::system_error&) {
    // No thread is to be had: it goes without.
  }
}

void ProgressLine::tell(const std::string& detail) {
  if (!thread_.joinable()) return;
  const std::lock_guard lock(mutex_);
  detail_ = detail;
  has_news_ = true;
  changed_.notify_one();
}

void ProgressLine::end() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
    changed_.notify_one();
  }
  thread_.join();
  if (is_shown_) write_all(kErase);
}

void ProgressLine::keep_showing() {
  std::unique_lock lock(mutex_);
  auto next = begin_ + kPatience;
  while (!is_over_) {
    const bool early = std::chrono::steady_clock::now() < begin_ + kPatience;
    changed_.wait_until(lock, next, [&] { return is_over_ || (has_news_ && !early); });
    const auto now = std::chrono::steady_clock::now();
    if (is_over_ || now < begin_ + kPatience) continue;
    has_news_ = false;
    show(now);
    while (next <= now) next += kTick;
  }
}

// It may run in a VM's supervisor: without a heap of the thread's own, which would stay.
void ProgressLine::show(std::chrono::steady_clock::time_point now) {
  const auto spent = std::chrono::duration_cast<std::chrono::seconds>(now - begin_).count();
  const fmt::format_int seconds(spent);
  std::array<char, 512> line{};
  std::size_t size = 0;
  for (const std::string_view part :
       {kErase, std::string_view(what_), std::string_view(", "),
        std::string_view(seconds.data(), seconds.size()), std::string_view(limit_),
        std::string_view(" s"), std::string_view(detail_.empty() ? "" : ": "),
        std::string_view(detail_)}) {
    size += part.copy(line.data() + size, line.size() - size);
  }
  size = std::min(size, kErase.size() + columns() - 1);
  write_all(std::string_view(line.data(), size));
  is_shown_ = true;
}

void tell_populating(ProgressLine& line, Bytes got, Bytes wanted) {
  if (wanted.value == 0) return line.tell({});
  const auto gib = [](Bytes bytes) {
    const std::uint64_t tenths = bytes.value / Bytes::mib(1).value * 10 / 1024;
    return fmt::format("{}.{}", tenths / 10, tenths % 10);
  };
  line.tell(fmt::format("populated {} of {} GiB of memory", gib(got), gib(wanted)));
}

}  // namespace vmrig
