#include "launcher/vm_log.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <string>

#include "launcher/state_dir.hpp"

namespace vmrig {

bool LineBudget::take(Time now) {
  const std::chrono::duration<double> passed = now - last_;
  last_ = now;
  tokens_ = std::min(kBurst, tokens_ + passed.count() * kPerSecond);
  if (tokens_ < 1) {
    ++left_out_;
    return false;
  }
  tokens_ -= 1;
  return true;
}

VmLog::VmLog(Fd file, std::function<void()> cut) : file_(std::move(file)), cut_(std::move(cut)) {
  struct stat status {};
  if (::fstat(file_.get(), &status) == 0) size_ = static_cast<std::size_t>(status.st_size);
}

void VmLog::write(std::string_view message) {
  if (!file_) return;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const std::time_t seconds = milliseconds / 1000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  const std::string line = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z {}\n",
                                       utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour,
                                       utc.tm_min, utc.tm_sec, milliseconds % 1000, message);
  if (::write(file_.get(), line.data(), line.size()) < 0) return;  // a log is no reason to fail
  size_ += line.size();
  if (size_ <= kMaxLogBytes) return;
  cut_();
  struct stat status {};
  if (::fstat(file_.get(), &status) == 0) size_ = static_cast<std::size_t>(status.st_size);
}

void VmLog::write_bounded(std::string_view message) {
  if (!budget_.take(std::chrono::steady_clock::now())) return;
  const std::uint64_t left_out = budget_.take_left_out();
  if (left_out > 0) write(fmt::format("({} lines were left out: there were too many)", left_out));
  write(message);
}

}  // namespace vmrig
