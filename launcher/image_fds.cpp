#include "launcher/image_fds.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/host_refusal.hpp"

namespace vmrig {
namespace {

Error fault(const char* operation, const std::string& path, int number, std::string mend = {}) {
  return host_refusal(operation, path, std::generic_category().message(number), std::move(mend));
}

void make_blocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0) ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

void copy(int from, int to, const std::string& path) {
  constexpr std::size_t kMost = std::size_t{1} << 30;
  while (true) {
    const ssize_t sent = ::sendfile(to, from, nullptr, kMost);
    if (sent == 0) return;
    if (sent < 0 && errno != EINTR) throw fault("copy", path, errno);
  }
}

}  // namespace

Fd open_image(const FdSource& source) {
  constexpr const char* kOpen = "open";
  const int access = source.is_writable ? O_RDWR : O_RDONLY;
  const int cache = source.is_direct ? O_DIRECT : 0;
  Fd image(::open(source.name.c_str(), access | cache | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!image) {
    const bool is_cache = errno == EINVAL && source.is_direct;
    throw fault(kOpen, source.name, errno,
                is_cache ? R"("cache": "writeback": its file system has no O_DIRECT)" : "");
  }
  struct stat status {};
  if (::fstat(image.get(), &status) != 0) throw fault(kOpen, source.name, errno);
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
    throw host_refusal(kOpen, source.name, "it is neither a file nor a block device");
  }
  make_blocking(image.get());
  return image;
}

Fd open_log_file(const std::string& path) {
  Fd file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                 0600));
  if (!file) throw fault("open", path, errno);
  make_blocking(file.get());
  return file;
}

Fd copy_to_memory(const std::string& path) {
  constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  constexpr mode_t kReadByAll = 0444;
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) throw fault("open", path, errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw fault("open", path, errno);
  if (!S_ISREG(status.st_mode)) throw host_refusal("copy", path, "it is no file");
  Fd memory(::memfd_create("vmrig-copy", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory) throw fault("copy", path, errno);
  copy(file.get(), memory.get(), path);
  if (::fchmod(memory.get(), kReadByAll) != 0 || ::fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0) {
    throw fault("copy", path, errno);
  }
  return memory;
}

}  // namespace vmrig
