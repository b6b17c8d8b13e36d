#include "hostcfg/folder_reader.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <stdexcept>
#include <utility>

namespace vmrig {
namespace {

constexpr int kReadFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

// More names than any folder of sysfs has; a bound against a hostile tree.
constexpr std::size_t kMaxNames = 65536;

ssize_t read_once(int fd, char* to, std::size_t size) {
  ssize_t got = 0;
  do {
    got = ::read(fd, to, size);
  } while (got < 0 && errno == EINTR);
  return got;
}

}  // namespace

std::optional<FolderReader> FolderReader::open(const std::string& path) {
  Fd fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  return FolderReader(std::move(fd));
}

std::optional<FolderReader> FolderReader::folder(const char* name) const {
  Fd fd(::openat(fd_.get(), name, O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  return FolderReader(std::move(fd));
}

std::optional<std::string> FolderReader::attribute(const char* name) const {
  const Fd file(::openat(fd_.get(), name, kReadFlags));
  if (!file) return std::nullopt;
  std::array<char, 4096> buffer;
  const ssize_t got = read_once(file.get(), buffer.data(), buffer.size());
  // A full buffer is no attribute: half a number would be a wrong number.
  if (got < 0 || static_cast<std::size_t>(got) >= buffer.size()) return std::nullopt;
  std::string_view text(buffer.data(), static_cast<std::size_t>(got));
  if (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  return std::string(text);
}

std::optional<std::string> FolderReader::text(const char* name, std::size_t limit,
                                              std::string_view stop) const {
  constexpr std::size_t kChunk = 4096;
  const Fd file(::openat(fd_.get(), name, kReadFlags));
  if (!file) return std::nullopt;
  std::string content;
  while (content.size() < limit) {
    const std::size_t used = content.size();
    const std::size_t chunk = stop.empty() ? std::max(kChunk, used) : kChunk;
    content.resize(std::min(limit, used + chunk));
    const ssize_t got = read_once(file.get(), content.data() + used, content.size() - used);
    content.resize(used + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    if (stop.empty()) continue;
    const std::size_t from = used < stop.size() ? 0 : used - stop.size();
    const std::size_t found = content.find(stop, from);
    if (found != std::string::npos) {
      content.resize(found);
      break;
    }
  }
  return content;
}

std::optional<std::string> FolderReader::link(const char* name) const {
  std::array<char, 4096> buffer;
  const ssize_t got = ::readlinkat(fd_.get(), name, buffer.data(), buffer.size());
  if (got < 0) return std::nullopt;
  return std::string(buffer.data(), static_cast<std::size_t>(got));
}

std::vector<std::string> FolderReader::names(const char* name) const {
  std::vector<std::string> names;
  Fd fd(::openat(fd_.get(), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return names;
  using Close = int (*)(DIR*);
  const std::unique_ptr<DIR, Close> stream(::fdopendir(fd.get()), ::closedir);
  if (!stream) return names;
  fd.release();  // the stream closes it
  while (const dirent* entry = ::readdir(stream.get())) {
    if (entry->d_name[0] == '.') continue;
    if (names.size() >= kMaxNames) break;
    names.emplace_back(entry->d_name);
  }
  return names;
}

bool FolderReader::exists(const char* name) const {
  return ::faccessat(fd_.get(), name, F_OK, 0) == 0;
}

std::optional<CpuSet> FolderReader::cpulist(const char* name) const {
  const std::optional<std::string> text = attribute(name);
  return text ? parse_cpulist(*text) : std::nullopt;
}

}  // namespace vmrig
