#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/retry.hpp"
#include "hostcfg/checkpoint.hpp"
#include "launcher/state_dir.hpp"
#include "qmp/unix_socket.hpp"

namespace vmrig {
namespace {

constexpr const char* kStateName = "state.json";
constexpr std::size_t kMaxStateBytes = std::size_t{4} << 20;
constexpr std::size_t kMaxRecordBytes = 4096;

int open_new(int folder, const char* name) {
  return retrying([&] {
    return ::openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  });
}

int open_to_read(int folder, const char* name) {
  return retrying(
      [&] { return ::openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK); });
}

void write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t put = retrying([&] { return ::write(fd, content.data(), content.size()); });
    if (put < 0) throw system_error("write", path, errno);
    content.remove_prefix(static_cast<std::size_t>(put));
  }
}

// What the file holds from `offset` on at this moment, `limit` bytes of it at most.
std::string read_up_to(int fd, off_t offset, std::size_t limit, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw system_error("read", path, errno);
  const off_t there = std::max<off_t>(status.st_size - offset, 0);
  std::string content(std::min(limit, static_cast<std::size_t>(there)), '\0');
  std::size_t used = 0;
  while (used < content.size()) {
    const ssize_t got = ::pread(fd, content.data() + used, content.size() - used,
                                offset + static_cast<off_t>(used));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw system_error("read", path, errno);
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
  }
  content.resize(used);
  return content;
}

void delete_content(int folder) {
  Fd copy(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!copy) return;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy.get()), ::closedir);
  if (!stream) return;
  (void)copy.release();  // the stream closes it
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") ::unlinkat(folder, entry->d_name, 0);
  }
}

}  // namespace

VmFolder::VmFolder(std::string name, std::string path, std::string root_path, Fd folder,
                   uid_t owner)
    : name_(std::move(name)),
      path_(std::move(path)),
      root_path_(std::move(root_path)),
      folder_(std::move(folder)),
      owner_(owner) {}

std::string VmFolder::socket_path(const std::string& name) const {
  std::string direct = path_of(name);
  if (direct.size() < sizeof(sockaddr_un::sun_path)) return direct;
  // sun_path ends at 108 bytes; the kernel follows its own link to the folder instead.
  return fmt::format("/proc/self/fd/{}/{}", folder_.get(), name);
}

Fd VmFolder::listen(const std::string& name, int backlog) const {
  const std::string shown = path_of(name);
  const auto failed = [&] { return system_error("listen on", shown, errno); };
  const std::string address_text = socket_path(name);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (address_text.size() >= sizeof(address.sun_path)) {
    throw Error(
        {.operation = "listen on", .object = shown, .cause = "the name is too long", .mend = {}});
  }
  std::memcpy(address.sun_path, address_text.data(), address_text.size());

  if (::unlinkat(folder_.get(), name.c_str(), 0) != 0 && errno != ENOENT) throw failed();
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) throw failed();
  // The folder is 0700, so that nobody gets in between bind and chmod.
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::fchmodat(folder_.get(), name.c_str(), 0600, 0) != 0 || ::listen(fd.get(), backlog) != 0) {
    throw failed();
  }
  return fd;
}

Fd VmFolder::connect(const std::string& name, qmp::Deadline deadline) const {
  qmp::Fd fd = qmp::connect_unix(socket_path(name), deadline);
  return Fd(fd.release());
}

Fd VmFolder::open_log(const char* name) const {
  Fd fd(retrying([&] {
    constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
    return ::openat(folder_.get(), name, kFlags, 0600);
  }));
  if (!fd) throw system_error("open", path_of(name), errno);
  return fd;
}

std::string VmFolder::read_log(const char* name, std::uint64_t offset, std::size_t limit) const {
  const Fd fd(open_to_read(folder_.get(), name));
  if (!fd && errno == ENOENT) return {};
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0) throw system_error("read", path_of(name), errno);
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (offset > size) offset = 0;  // it was cut meanwhile
  const std::uint64_t start = std::max(offset, size > limit ? size - limit : 0);
  if (start >= size) return {};
  return read_up_to(fd.get(), static_cast<off_t>(start),
                    std::min(limit, static_cast<std::size_t>(size - start)), path_of(name));
}

bool VmFolder::cut_log(const char* name) const {
  constexpr std::size_t kKept = kMaxLogBytes / 2;
  const Fd fd(::openat(folder_.get(), name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0) return false;
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size <= kMaxLogBytes) return true;
  std::string text;
  try {
    text = read_up_to(fd.get(), static_cast<off_t>(size - kKept), kKept, path_of(name));
    if (const std::size_t end = text.find('\n'); end != std::string::npos) text.erase(0, end + 1);
    write_text((name + std::string(kOldLogSuffix)).c_str(), text);
  } catch (const Error&) {
    // Without space for the copy: the log must not grow all the same.
    text.clear();
  }
  // Those who append go on at the new end.
  return ::ftruncate(fd.get(), 0) == 0 && !text.empty();
}

std::string VmFolder::read_text(const char* name, std::size_t limit) const {
  const std::string path = path_of(name);
  const Fd fd(open_to_read(folder_.get(), name));
  if (!fd) throw system_error("read", path, errno);
  return read_up_to(fd.get(), 0, limit, path);
}

void VmFolder::write_text(const char* name, std::string_view text) const {
  const std::string path = path_of(name);
  const std::string temporary = fmt::format(".{}.new", name);
  // Only the lock's holder writes here, so that one temporary name is enough.
  const Fd fd(open_new(folder_.get(), temporary.c_str()));
  if (!fd) throw system_error("write", path, errno);
  try {
    write_all(fd.get(), text, path);
    if (::renameat(folder_.get(), temporary.c_str(), folder_.get(), name) != 0) {
      throw system_error("write", path, errno);
    }
  } catch (const Error&) {
    ::unlinkat(folder_.get(), temporary.c_str(), 0);
    throw;
  }
}

void VmFolder::remove_file(const std::string& name) const {
  ::unlinkat(folder_.get(), name.c_str(), 0);
}

Fd VmFolder::open_qemu_record() const {
  Fd fd(open_new(folder_.get(), kQemuRecordName));
  if (!fd) throw system_error("write", path_of(kQemuRecordName), errno);
  return fd;
}

VmState VmFolder::read_state() const {
  const std::string text = read_text(kStateName, kMaxStateBytes);
  VmState state;
  try {
    state = vm_state_from_json(Json::parse(text));
  } catch (const Json::exception& fault) {
    throw Error(
        {.operation = "read", .object = path_of(kStateName), .cause = fault.what(), .mend = {}});
  }
  if (state.qemu.pid > 0) return state;
  const Fd record(open_to_read(folder_.get(), kQemuRecordName));
  if (!record) return state;
  const std::string stat = read_up_to(record.get(), 0, kMaxRecordBytes, path_of(kQemuRecordName));
  if (const auto identity = identity_in_stat(stat)) state.qemu = *identity;
  return state;
}

void VmFolder::write_state(const VmState& state) const {
  checkpoint("before state");
  // No fsync: after a power cut the state is of no use (another boot id).
  write_text(kStateName, to_line(state));
  checkpoint("after state");
}

void VmFolder::remove() {
  // Out of the way in one step first: until then a start of that name finds the lock held, and
  // afterwards a free name, never something half.
  std::string doomed = fmt::format("{}/.gone-{}-{}", root_path_, name_, ::getpid());
  if (::rename(path_.c_str(), doomed.c_str()) != 0) doomed = path_;
  delete_content(folder_.get());
  if (::rmdir(doomed.c_str()) != 0 && errno != ENOENT) {
    throw system_error("remove the folder", doomed, errno);
  }
}

void VmFolder::remove_if_possible() {
  try {
    remove();
  } catch (const Error&) {
    // It stays, as that of a dead VM, for the next start or recover.
  }
}

}  // namespace vmrig
