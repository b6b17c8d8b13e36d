#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <system_error>

#include <linux/magic.h>

#include "hostcfg/access_control.hpp"
#include "hostcfg/base/error.hpp"
#include "hostcfg/base/fd.hpp"
#include "hostcfg/checkpoint.hpp"
#include "hostcfg/host_refusal.hpp"
#include "hostcfg/posix_acl.hpp"
#include "hostcfg/unix_listener.hpp"

namespace vmrig {
namespace {

constexpr const char* kChange = "change the access to";
constexpr unsigned kModeBits = 07777;

std::string text_of(int number) { return std::generic_category().message(number); }

// One file for several calls, whatever becomes of its name.
class OpenedPath {
 public:
  explicit OpenedPath(const std::string& path)
      : fd_(::open(path.c_str(), O_PATH | O_CLOEXEC)), path_(path) {
    if (!fd_ && errno != ENOENT && errno != ENOTDIR) {
      throw host_refusal("look at", path, text_of(errno));
    }
    if (fd_ && ::fstat(fd_.get(), &status_) != 0) {
      throw host_refusal("look at", path, text_of(errno));
    }
  }

  explicit operator bool() const { return static_cast<bool>(fd_); }
  int fd() const { return fd_.get(); }
  const struct stat& status() const { return status_; }
  // An O_PATH fd takes no extended attributes; its link does.
  std::string link() const { return fmt::format("/proc/self/fd/{}", fd_.get()); }

  // nullopt: the file system has none.
  std::optional<PosixAcl> acl() const {
    std::array<char, 4096> bytes{};
    const ssize_t size = ::getxattr(link().c_str(), kAclAttribute, bytes.data(), bytes.size());
    if (size >= 0) {
      try {
        return PosixAcl::parse({bytes.data(), static_cast<std::size_t>(size)});
      } catch (const std::invalid_argument& fault) {
        throw host_refusal("read the ACL of", path_, fault.what());
      }
    }
    if (errno == ENODATA) return PosixAcl::of_mode(status_.st_mode & kModeBits);
    if (errno == EOPNOTSUPP) return std::nullopt;
    throw host_refusal("read the ACL of", path_, text_of(errno));
  }

 private:
  Fd fd_;
  std::string path_;
  struct stat status_ {};
};

// Where there is no place for the lock (a container's read-only /run), there are no two VMs that
// could change one node at once but in this very container.
Fd take_lock(const std::string& path) {
  Fd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600));
  if (!lock) return lock;
  while (::flock(lock.get(), LOCK_EX) != 0) {
    if (errno != EINTR) throw system_error("lock", path, errno);
  }
  return lock;
}

bool is_in_memory(int fd) {
  struct statfs status {};
  if (::fstatfs(fd, &status) != 0) return false;
  return status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC;
}

}  // namespace

std::string LinuxAccess::vfio_group_node(const PciAddress& device) {
  const auto group =
      sysfs_.link_name(fmt::format("sys/bus/pci/devices/{}/iommu_group", device.to_string()));
  if (!group) return {};
  const std::string node = "dev/vfio/" + *group;
  return sysfs_.exists(node) ? sysfs_.root() + node : std::string();
}

std::optional<AccessNow> LinuxAccess::read(const std::string& path, unsigned uid) {
  const OpenedPath file(path);
  if (!file) return std::nullopt;
  const std::optional<PosixAcl> acl = file.acl();
  return AccessNow{.has_acl = acl.has_value(),
                   .permissions = acl ? acl->user(uid) : std::nullopt,
                   .owner = file.status().st_uid,
                   .survives_reboot = !is_in_memory(file.fd())};
}

void LinuxAccess::set_entry(const std::string& path, unsigned uid,
                            std::optional<unsigned> permissions) {
  const Fd lock = take_lock(lock_file_);
  const OpenedPath file(path);
  std::optional<PosixAcl> acl = file ? file.acl() : std::nullopt;
  if (!acl) throw host_refusal(kChange, path, file ? "it has no ACL" : "it is gone");
  if (!permissions) {
    acl->remove_user(uid);
  } else if (!acl->set_user(uid, *permissions)) {
    throw host_refusal(
        kChange, path, "the mask of its ACL holds other entries back, and would let them go",
        fmt::format("setfacl -m u:{}:rw {}, with the mask that you want", uid, path));
  }
  const std::string bytes = acl->attribute();
  checkpoint("before access");
  if (::setxattr(file.link().c_str(), kAclAttribute, bytes.data(), bytes.size(), 0) != 0) {
    throw host_refusal(kChange, path, text_of(errno), "run vmrig as root");
  }
  checkpoint("after access");
}

void LinuxAccess::set_owner(const std::string& path, unsigned uid) {
  const OpenedPath file(path);
  if (!file) throw host_refusal(kChange, path, "it is gone");
  checkpoint("before access");
  if (::chown(file.link().c_str(), uid, static_cast<gid_t>(-1)) != 0) {
    throw host_refusal(kChange, path, text_of(errno), "run vmrig as root");
  }
  checkpoint("after access");
}

SocketState LinuxAccess::socket_state(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return SocketState::kNothing;
    throw host_refusal("look at", path, text_of(errno));
  }
  if (!S_ISSOCK(status.st_mode)) return SocketState::kNoSocket;
  return has_listener(path) ? SocketState::kListening : SocketState::kDead;
}

void LinuxAccess::remove_socket(const std::string& path) {
  checkpoint("before socket");
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    throw host_refusal("remove", path, text_of(errno));
  }
  checkpoint("after socket");
}

}  // namespace vmrig
