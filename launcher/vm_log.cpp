#include "launcher/vm_log.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <string>

namespace vmrig {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 20;

}  // namespace

void VmLog::write(std::string_view message) {
  if (!file_ || written_ >= kMaxBytes) return;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const std::time_t seconds = milliseconds / 1000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  const std::string line = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z {}\n",
                                       utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour,
                                       utc.tm_min, utc.tm_sec, milliseconds % 1000, message);
  written_ += line.size();
  if (::write(file_.get(), line.data(), line.size()) < 0) return;  // a log is no reason to fail
}

}  // namespace vmrig
