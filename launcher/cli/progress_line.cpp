#include "launcher/cli/progress_line.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <string_view>

namespace vmrig {
namespace {

constexpr std::chrono::seconds kPatience{1};

void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::write(STDERR_FILENO, text.data(), text.size());
    if (put <= 0) return;  // nobody needs it
    text.remove_prefix(static_cast<std::size_t>(put));
  }
}

}  // namespace

ProgressLine::ProgressLine() : is_terminal_(::isatty(STDERR_FILENO) == 1) {}

void ProgressLine::show(const std::string& text) {
  if (!is_terminal_) return;
  const auto now = std::chrono::steady_clock::now();
  if (first_ == std::chrono::steady_clock::time_point{}) first_ = now;
  if (now - first_ < kPatience) return;
  is_shown_ = true;
  write_all("\r\x1b[K" + text);  // back to the line's begin, and clear it
}

void ProgressLine::erase() {
  if (!is_shown_) return;
  is_shown_ = false;
  write_all("\r\x1b[K");
}

void show_populating(ProgressLine& line, Bytes got, Bytes wanted) {
  if (wanted.value == 0) return line.erase();
  const auto gib = [](Bytes bytes) {
    return static_cast<double>(bytes.value) / static_cast<double>(Bytes::gib(1).value);
  };
  line.show(fmt::format("populated {:.1f} of {:.1f} GiB of memory", gib(got), gib(wanted)));
}

}  // namespace vmrig
