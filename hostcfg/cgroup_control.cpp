#include "hostcfg/cgroup_control.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <system_error>

#include "hostcfg/base/fd.hpp"
#include "hostcfg/base/retry.hpp"
#include "hostcfg/checkpoint.hpp"
#include "hostcfg/folder_reader.hpp"

namespace vmrig {
namespace {

using Clock = std::chrono::steady_clock;

// A passt ends by itself when its QEMU has.
constexpr std::chrono::seconds kGraceful{3};
constexpr std::chrono::seconds kKilled{10};
constexpr std::size_t kLimit = std::size_t{1} << 20;

[[noreturn]] void fail() { throw std::system_error(errno, std::generic_category()); }

std::string below(const std::string& group, const std::string& file) { return group + "/" + file; }

bool is_populated(int events) {
  std::array<char, 256> buffer{};
  const ssize_t got = ::pread(events, buffer.data(), buffer.size() - 1, 0);
  const std::string_view text(buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  return text.find("populated 1") != std::string_view::npos;
}

// The file tells of a change by POLLPRI (cgroup-v2.rst, "cgroup.events"). False: time is up.
bool wait_until_empty(const std::string& group, Clock::time_point deadline) {
  const Fd events(::open(below(group, "cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  if (!events) return errno == ENOENT;
  while (is_populated(events.get())) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd wanted{.fd = events.get(), .events = POLLPRI, .revents = 0};
    if (::poll(&wanted, 1, static_cast<int>(left)) < 0 && errno != EINTR) return false;
  }
  return true;
}

}  // namespace

bool LinuxCgroups::exists(const std::string& group) {
  return ::access(below(group, "cgroup.procs").c_str(), F_OK) == 0;
}

void LinuxCgroups::make(const std::string& group) {
  checkpoint("before mkdir of a cgroup");
  if (::mkdir(group.c_str(), 0755) != 0) fail();
  checkpoint("after mkdir of a cgroup");
}

bool LinuxCgroups::remove(const std::string& group) {
  if (!exists(group)) return true;
  const std::optional<FolderReader> folder = FolderReader::open(group);
  if (folder) {
    const std::vector<std::string> names = folder->names(".");
    const bool has_groups = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return folder->exists((name + "/cgroup.procs").c_str());
    });
    if (has_groups) return false;
  }
  if (!wait_until_empty(group, Clock::now() + kGraceful)) {
    write(group, "cgroup.kill", "1");
    (void)wait_until_empty(group, Clock::now() + kKilled);
  }
  checkpoint("before rmdir of a cgroup");
  if (::rmdir(group.c_str()) != 0 && errno != ENOENT) fail();
  checkpoint("after rmdir of a cgroup");
  return true;
}

std::string LinuxCgroups::read(const std::string& group, const std::string& file) {
  const std::optional<FolderReader> folder = FolderReader::open(group);
  return folder ? std::string(trimmed(folder->text(file.c_str(), kLimit).value_or(std::string())))
                : std::string();
}

void LinuxCgroups::write(const std::string& group, const std::string& file,
                         const std::string& value) {
  checkpoint("before a write to a cgroup");
  const std::string path = below(group, file);
  const Fd opened(retrying([&path] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC); }));
  if (!opened) fail();
  if (retrying([&] { return ::write(opened.get(), value.data(), value.size()); }) < 0) fail();
  checkpoint("after a write to a cgroup");
}

std::vector<pid_t> LinuxCgroups::processes(const std::string& group) {
  std::vector<pid_t> pids;
  const std::string content = read(group, "cgroup.procs");
  std::string_view text = content;
  while (!text.empty()) {
    if (const auto pid = parse_number<pid_t>(take_line(text))) pids.push_back(*pid);
  }
  return pids;
}

}  // namespace vmrig
