#include "hostcfg/image_locks.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cstring>
#include <optional>
#include <string>

#include "hostcfg/folder_reader.hpp"

namespace vmrig {
namespace {

// A byte for each permission that is used, and one for each that is not left to others.
constexpr off_t kUses = 100;
constexpr off_t kKeeps = 200;
constexpr off_t kRead = 0;
constexpr off_t kWrite = 1;

bool is_locked(int fd, off_t byte) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return ::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

// Whether one of the process's fds is on that file, and holds a lock.
bool holds(const FolderReader& process, const struct stat& file) {
  const std::optional<FolderReader> fds = process.folder("fd");
  const std::optional<FolderReader> infos = process.folder("fdinfo");
  if (!fds || !infos) return false;
  for (const std::string& fd : fds->names(".")) {
    struct stat status {};
    if (::fstatat(fds->fd(), fd.c_str(), &status, 0) != 0) continue;
    if (status.st_ino != file.st_ino || status.st_dev != file.st_dev) continue;
    const std::optional<std::string> info = infos->attribute(fd.c_str());
    if (info && info->find("lock:") != std::string::npos) return true;
  }
  return false;
}

// The kernel names none for locks of this kind; only looked for when there is one.
std::string find_holder(int fd) {
  struct stat file {};
  const std::optional<FolderReader> processes = FolderReader::open("/proc");
  if (!processes || ::fstat(fd, &file) != 0) return {};
  for (const std::string& name : processes->names(".")) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::optional<FolderReader> process = processes->folder(name.c_str());
    if (!process || !holds(*process, file)) continue;
    return fmt::format("{} (pid {})", process->attribute("comm").value_or("a process"), name);
  }
  return {};
}

}  // namespace

ImageLocks read_image_locks(int fd) {
  ImageLocks locks;
  locks.written = is_locked(fd, kUses + kWrite);
  locks.no_writer = is_locked(fd, kKeeps + kWrite);
  locks.no_reader = is_locked(fd, kKeeps + kRead);
  if (locks.any()) locks.holder = find_holder(fd);
  return locks;
}

}  // namespace vmrig
