#include "launcher/dying_process.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "hostcfg/base/error.hpp"
#include "hostcfg/files.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kMaxStatusBytes = 65536;  // lists of CPUs and nodes are part of it
constexpr std::uint64_t kKillBit = std::uint64_t{1} << (SIGKILL - 1);

// Whether SIGKILL is in the set of that name, which is hexadecimal.
bool has_kill_in(std::string_view status, std::string_view name) {
  const std::size_t at = status.find(name);
  if (at == std::string_view::npos) return false;
  std::string_view digits = status.substr(at + name.size());
  digits.remove_prefix(std::min(digits.find_first_not_of(" \t"), digits.size()));
  std::uint64_t set = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), set, 16);
  return read.ec == std::errc{} && (set & kKillBit) != 0;
}

}  // namespace

bool is_dying(const ProcessIdentity& process) {
  std::optional<std::string> status;
  try {
    status = read_file_if_exists(fmt::format("/proc/{}/status", process.pid), kMaxStatusBytes);
  } catch (const Error&) {
    return false;  // ESRCH: it ended between open and read
  }
  // In this order: what has been read is not another process's, of the same pid.
  if (!status || !is_alive(process)) return false;
  // What is sent to a process stays in its shared set until the end; threads take it from their
  // own. Source: linux kernel/signal.c, complete_signal and get_signal.
  return has_kill_in(*status, "\nShdPnd:") || has_kill_in(*status, "\nSigPnd:");
}

}  // namespace vmrig
