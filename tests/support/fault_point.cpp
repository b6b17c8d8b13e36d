// The faulty disk of vmrig_fault, a vmrig that is linked with --wrap for the system calls below:
// the call that VMRIG_FAULT_AT counts to fails, or does half, before it reaches the kernel.
//   VMRIG_FAULT=KIND      ENOSPC, EIO, EROFS, EINTR; short: half of a write is done; torn: half of
//   a
//                         write is done, and the rest of it fails with ENOSPC. With a + at its end:
//                         and all that come after, as on a disk that stays full
//   VMRIG_FAULT_AT=N      from 1; the calls that such a fault can come from are counted
//   VMRIG_FAULT_BELOW=DIR on what is below that folder only
//   VMRIG_FAULT_READS=no  not to open what is there for reading
//   VMRIG_FAULT_COUNT=FILE holds the count, which all processes share
//   VMRIG_FAULT_LOG=FILE  gets a line a call
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

// NOLINTBEGIN(bugprone-reserved-identifier): the linker gives these names.
extern "C" {
int __real_open(const char* path, int flags, ...);
int __real_openat(int folder, const char* path, int flags, ...);
int __real_mkostemp(char* path, int flags);
ssize_t __real_write(int fd, const void* data, std::size_t size);
int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __real_ftruncate(int fd, off_t size);
int __real_fallocate(int fd, int mode, off_t offset, off_t size);
int __real_rename(const char* from, const char* to);
int __real_renameat(int from_folder, const char* from, int to_folder, const char* to);
int __real_mkdir(const char* path, mode_t mode);
int __real_mkdirat(int folder, const char* path, mode_t mode);
int __real_unlinkat(int folder, const char* path, int flags);
int __real_rmdir(const char* path);
int __real_bind(int fd, const sockaddr* address, socklen_t size);
int __real_mount(const char* source, const char* target, const char* type, unsigned long flags,
                 const void* data);
int __real_umount2(const char* target, int flags);
}

namespace {

// What a call does, as far as it decides by what it can fail.
enum Nature : unsigned {
  kReads = 1,    // opens something that is there
  kMakes = 2,    // wants room on the disk
  kChanges = 4,  // is refused by a read-only file system
  kWaits = 8,    // may be interrupted
  kWrites = 16,
};

struct Fault {
  std::string kind;
  bool stays = false;
  int at = 0;
  std::string below;
  bool reads = true;
  int log = -1;
  std::atomic<int>* count = nullptr;
};

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

std::atomic<int>* shared_count() {
  static std::atomic<int> own = 0;
  const std::string path = setting("VMRIG_FAULT_COUNT");
  const int fd = path.empty() ? -1 : __real_open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return &own;
  void* map = ::mmap(nullptr, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  return map == MAP_FAILED ? &own : static_cast<std::atomic<int>*>(map);
}

// Once: between fork and exec a child is another user already, who may not open it. Above the fds
// that it is given.
int open_log() {
  constexpr int kLowest = 512;
  const std::string path = setting("VMRIG_FAULT_LOG");
  if (path.empty()) return -1;
  const int fd = __real_open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const int high = ::fcntl(fd, F_DUPFD_CLOEXEC, kLowest);
  if (high < 0) std::abort();
  ::close(fd);
  return high;
}

const Fault& fault() {
  static const Fault the_fault = [] {
    Fault made;
    made.kind = setting("VMRIG_FAULT");
    made.stays = !made.kind.empty() && made.kind.back() == '+';
    if (made.stays) made.kind.pop_back();
    const std::string at = setting("VMRIG_FAULT_AT");
    std::from_chars(at.data(), at.data() + at.size(), made.at);
    made.below = setting("VMRIG_FAULT_BELOW");
    made.reads = setting("VMRIG_FAULT_READS") != "no";
    made.log = open_log();
    made.count = shared_count();
    return made;
  }();
  return the_fault;
}

std::string path_of(int fd) {
  char path[PATH_MAX];
  const ssize_t length =
      ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), path, sizeof(path));
  return length < 0 ? std::string() : std::string(path, static_cast<std::size_t>(length));
}

std::string path_at(int folder, const char* path) {
  if (path[0] == '/' || folder == AT_FDCWD) return path;
  return path_of(folder) + "/" + path;
}

unsigned nature_of(int flags) {
  const bool writes = (flags & O_ACCMODE) != O_RDONLY;
  return kWaits | ((flags & O_CREAT) != 0 ? kMakes : 0U) | (writes ? kChanges : kReads);
}

bool can_come(const std::string& kind, unsigned nature) {
  if (kind == "ENOSPC") return (nature & kMakes) != 0;
  if (kind == "EROFS") return (nature & kChanges) != 0;
  if (kind == "EINTR") return (nature & kWaits) != 0;
  if (kind == "short" || kind == "torn") return (nature & kWrites) != 0;
  return kind == "EIO";
}

int number_of(const std::string& kind) {
  if (kind == "EROFS") return EROFS;
  if (kind == "EINTR") return EINTR;
  return kind == "EIO" ? EIO : ENOSPC;
}

void log(const Fault& of, const char* call, const std::string& path) {
  if (of.log < 0) return;
  const std::string line = fmt::format("{} {}\n", call, path);
  if (__real_write(of.log, line.data(), line.size()) < 0) std::abort();
}

// Whether this call is the one; errno is set then.
bool fails(const char* call, unsigned nature, const std::string& path) {
  const Fault& the_fault = fault();
  if (the_fault.at == 0 || !can_come(the_fault.kind, nature)) return false;
  if (!path.starts_with(the_fault.below)) return false;
  if (!the_fault.reads && (nature & kReads) != 0) return false;
  const int before = errno;
  log(the_fault, call, path);
  errno = before;
  const int now = ++*the_fault.count;
  if (now != the_fault.at && !(the_fault.stays && now > the_fault.at)) return false;
  errno = number_of(the_fault.kind);
  return true;
}

thread_local int torn_fd = -1;

}  // namespace

extern "C" {

int __wrap_open(const char* path, int flags, ...) {
  std::va_list rest;
  va_start(rest, flags);
  const auto mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : mode_t{0};
  va_end(rest);
  return fails("open", nature_of(flags), path) ? -1 : __real_open(path, flags, mode);
}

int __wrap_openat(int folder, const char* path, int flags, ...) {
  std::va_list rest;
  va_start(rest, flags);
  const auto mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : mode_t{0};
  va_end(rest);
  if (fails("openat", nature_of(flags), path_at(folder, path))) return -1;
  return __real_openat(folder, path, flags, mode);
}

int __wrap_mkostemp(char* path, int flags) {
  return fails("mkostemp", kMakes | kChanges | kWaits, path) ? -1 : __real_mkostemp(path, flags);
}

ssize_t __wrap_write(int fd, const void* data, std::size_t size) {
  if (torn_fd == fd) {
    torn_fd = -1;
    errno = ENOSPC;
    return -1;
  }
  // What is no file has no disk below it.
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return __real_write(fd, data, size);
  const bool is_half = fault().kind == "short" || fault().kind == "torn";
  if (!fails("write", kMakes | kWaits | kWrites, path_of(fd))) return __real_write(fd, data, size);
  if (!is_half || size < 2) return -1;
  if (fault().kind == "torn") torn_fd = fd;
  return __real_write(fd, data, size / 2);
}

int __wrap_fsync(int fd) {
  return fails("fsync", kWaits | kMakes, path_of(fd)) ? -1 : __real_fsync(fd);
}
int __wrap_fdatasync(int fd) {
  return fails("fdatasync", kWaits | kMakes, path_of(fd)) ? -1 : __real_fdatasync(fd);
}
int __wrap_ftruncate(int fd, off_t size) {
  return fails("ftruncate", kWaits, path_of(fd)) ? -1 : __real_ftruncate(fd, size);
}
int __wrap_fallocate(int fd, int mode, off_t offset, off_t size) {
  if (fails("fallocate", kWaits | kMakes, path_of(fd))) return -1;
  return __real_fallocate(fd, mode, offset, size);
}
int __wrap_rename(const char* from, const char* to) {
  return fails("rename", kMakes | kChanges, from) ? -1 : __real_rename(from, to);
}
int __wrap_renameat(int from_folder, const char* from, int to_folder, const char* to) {
  if (fails("renameat", kMakes | kChanges, path_at(from_folder, from))) return -1;
  return __real_renameat(from_folder, from, to_folder, to);
}
int __wrap_mkdir(const char* path, mode_t mode) {
  return fails("mkdir", kMakes | kChanges, path) ? -1 : __real_mkdir(path, mode);
}
int __wrap_mkdirat(int folder, const char* path, mode_t mode) {
  if (fails("mkdirat", kMakes | kChanges, path_at(folder, path))) return -1;
  return __real_mkdirat(folder, path, mode);
}
int __wrap_unlinkat(int folder, const char* path, int flags) {
  return fails("unlinkat", kChanges, path_at(folder, path)) ? -1
                                                            : __real_unlinkat(folder, path, flags);
}
int __wrap_rmdir(const char* path) {
  return fails("rmdir", kChanges, path) ? -1 : __real_rmdir(path);
}
int __wrap_bind(int fd, const sockaddr* address, socklen_t size) {
  if (address->sa_family == AF_UNIX) {
    sockaddr_un name{};
    std::memcpy(&name, address, std::min<std::size_t>(size, sizeof(name)));
    if (fails("bind", kMakes | kChanges, name.sun_path)) return -1;
  }
  return __real_bind(fd, address, size);
}
int __wrap_mount(const char* source, const char* target, const char* type, unsigned long flags,
                 const void* data) {
  if (fails("mount", kMakes, target)) return -1;
  return __real_mount(source, target, type, flags, data);
}
int __wrap_umount2(const char* target, int flags) {
  return fails("umount2", 0, target) ? -1 : __real_umount2(target, flags);
}
}
// NOLINTEND(bugprone-reserved-identifier)
