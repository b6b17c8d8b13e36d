#include "hostcfg/net_fds.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/host_refusal.hpp"

namespace vmrig {
namespace {

constexpr const char* kTun = "/dev/net/tun";
constexpr const char* kVhostNet = "/dev/vhost-net";

ifreq request_for(const std::string& name, unsigned flags) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(flags);
  return request;
}

// What `flags` the tap was made with; an attach has to name the same.
// Source: linux Documentation/ABI/testing/sysfs-class-net, drivers/net/tun.c.
unsigned tap_flags(const std::string& name) {
  const auto folder = FolderReader::open("/sys/class/net/" + name);
  const auto text = folder ? folder->attribute("tun_flags") : std::nullopt;
  unsigned flags = 0;
  if (text && text->starts_with("0x")) {
    flags = parse_number<unsigned>(std::string_view(*text).substr(2), 16).value_or(0);
  }
  if ((flags & IFF_TAP) != 0) return flags;
  throw host_refusal("open the tap", name,
                     folder ? "it is no tap" : "there is no such network device");
}

Error tap_fault(const std::string& name, int queues, int fault) {
  constexpr const char* kOperation = "open the tap";
  if (fault == EBUSY) {
    return host_refusal(kOperation, name, "another process has it open",
                        "vmrig list, or the owner of the tap");
  }
  if (fault == E2BIG) {
    return host_refusal(kOperation, name, fmt::format("it has no {} queues free", queues));
  }
  if (fault == EPERM) {
    return host_refusal(
        kOperation, name, "it belongs to another user",
        fmt::format("run vmrig as root, or: ip tuntap add {} mode tap user NAME", name));
  }
  return host_refusal(kOperation, name, std::generic_category().message(fault));
}

Fd open_node(const char* operation, const std::string& path) {
  Fd node(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!node) throw system_error(operation, path, errno);
  return node;
}

struct Macvtap {
  int index = 0;
  dev_t device = 0;
};

// Source: linux Documentation/ABI/testing/sysfs-class-net (ifindex); the character device is the
// child macvtap/tapN, whose "dev" is MAJOR:MINOR.
Macvtap find_macvtap(const std::string& name) {
  constexpr const char* kOperation = "open the macvtap";
  const auto folder = FolderReader::open("/sys/class/net/" + name);
  if (!folder) throw host_refusal(kOperation, name, "there is no such network device");
  Macvtap found;
  found.index = folder->number<int>("ifindex").value_or(0);
  std::optional<std::string> numbers;
  for (const char* place : {"tap{0}/dev", "macvtap/tap{0}/dev"}) {
    if (!numbers)
      numbers = folder->attribute(fmt::format(fmt::runtime(place), found.index).c_str());
  }
  if (!numbers) throw host_refusal(kOperation, name, "it is no macvtap");
  const std::size_t colon = numbers->find(':');
  const auto major = parse_number<unsigned>(std::string_view(*numbers).substr(0, colon));
  const auto minor = colon == std::string::npos
                         ? std::nullopt
                         : parse_number<unsigned>(std::string_view(*numbers).substr(colon + 1));
  if (!major || !minor) throw host_refusal(kOperation, name, "the kernel does not tell its node");
  found.device = makedev(*major, *minor);
  return found;
}

// Another network namespace's macvtap of the same index has a node of the same name.
bool is_node_of(const std::string& path, dev_t device) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == device;
}

// A node of our own, gone again when this is.
class PrivateNode {
 public:
  PrivateNode(const std::string& folder, const std::string& name, dev_t device)
      : path_(fmt::format("{}/{}.node", folder, name)) {
    ::unlink(path_.c_str());  // of one who died in between
    if (::mknod(path_.c_str(), S_IFCHR | 0600, device) < 0) {
      throw system_error("make the macvtap's node", path_, errno,
                         "run vmrig as root, or with udev");
    }
  }
  PrivateNode(const PrivateNode&) = delete;
  PrivateNode& operator=(const PrivateNode&) = delete;
  ~PrivateNode() { ::unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::vector<Fd> open_macvtap_node(const std::string& name, const std::string& path, int queues) {
  constexpr const char* kOperation = "open the macvtap";
  std::vector<Fd> fds;
  for (int queue = 0; queue < queues; ++queue) {
    Fd fd(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!fd && errno == EBUSY) {
      throw host_refusal(kOperation, name, "another process has its queues open");
    }
    if (!fd) throw system_error(kOperation, path, errno);
    const unsigned flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (queues > 1 ? IFF_MULTI_QUEUE : 0U);
    ifreq request = request_for(name, flags);
    if (::ioctl(fd.get(), TUNSETIFF, &request) < 0) throw system_error(kOperation, name, errno);
    fds.push_back(std::move(fd));
  }
  return fds;
}

}  // namespace

std::vector<Fd> open_tap_queues(const std::string& name, int queues) {
  const unsigned made_with = tap_flags(name);
  if (queues > 1 && (made_with & IFF_MULTI_QUEUE) == 0) {
    throw host_refusal("open the tap", name,
                       fmt::format("it has one queue, and {} are asked for", queues),
                       fmt::format("ip tuntap add {} mode tap multi_queue", name));
  }
  const unsigned flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (made_with & IFF_MULTI_QUEUE);
  std::vector<Fd> fds;
  for (int queue = 0; queue < queues; ++queue) {
    Fd fd = open_node("open the tap", kTun);
    ifreq request = request_for(name, flags);
    if (::ioctl(fd.get(), TUNSETIFF, &request) < 0) throw tap_fault(name, queues, errno);
    fds.push_back(std::move(fd));
  }
  return fds;
}

std::vector<Fd> open_macvtap_queues(const std::string& name, int queues,
                                    const std::string& folder) {
  const Macvtap macvtap = find_macvtap(name);
  const std::string node = fmt::format("/dev/tap{}", macvtap.index);
  if (is_node_of(node, macvtap.device)) return open_macvtap_node(name, node, queues);
  const PrivateNode own(folder, name, macvtap.device);
  return open_macvtap_node(name, own.path(), queues);
}

std::vector<Fd> open_vhost_net(int queues) {
  constexpr const char* kOperation = "open";
  std::vector<Fd> fds;
  for (int queue = 0; queue < queues; ++queue) {
    Fd fd(::open(kVhostNet, O_RDWR | O_CLOEXEC));
    if (!fd && (errno == ENOENT || errno == ENODEV || errno == ENXIO)) {
      throw host_refusal(kOperation, kVhostNet, "the kernel module vhost_net is not loaded",
                         "modprobe vhost_net, or \"vhost\": false");
    }
    if (!fd)
      throw system_error(kOperation, kVhostNet, errno, "run vmrig as root, or \"vhost\": false");
    fds.push_back(std::move(fd));
  }
  return fds;
}

}  // namespace vmrig
