#include "hostcfg/tap.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <utility>

#include "hostcfg/base/fd.hpp"
#include "hostcfg/checkpoint.hpp"
#include "hostcfg/link.hpp"

namespace vmrig {
namespace {

constexpr const char* kOperation = "make the tap";
constexpr const char* kNode = "/dev/net/tun";
constexpr std::uint8_t kHighLocalUnicast = 0xfe;

[[noreturn]] void refuse(const std::string& name, int fault) {
  if (fault == EBUSY || fault == EEXIST) {
    throw Error({.status = ExitStatus::kHost,
                 .operation = kOperation,
                 .object = name,
                 .cause = "there is a network device of this name",
                 .mend = "another \"ifname\", or \"device\" to use it"});
  }
  throw system_error(kOperation, name, fault, fault == EPERM ? "run vmrig as root" : "");
}

Fd open_tun(const std::string& name) {
  Fd tun(::open(kNode, O_RDWR | O_CLOEXEC));
  if (tun) return tun;
  if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
    throw Error({.status = ExitStatus::kHost,
                 .operation = kOperation,
                 .object = name,
                 .cause = "the kernel module tun is not loaded",
                 .mend = "modprobe tun"});
  }
  throw system_error("open", kNode, errno, "run vmrig as root");
}

}  // namespace

void create_tap(NetlinkSocket& socket, const CreateTap& action, const std::string& mark) {
  const Fd tun = open_tun(action.name);
  ifreq request{};
  action.name.copy(request.ifr_name, IFNAMSIZ - 1);
  // IFF_TUN_EXCL: one that is there is not taken over.
  unsigned flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL;
  if (action.queues > 1) flags |= IFF_MULTI_QUEUE;
  request.ifr_flags = static_cast<short>(flags);
  checkpoint("before tap");
  if (::ioctl(tun.get(), TUNSETIFF, &request) < 0) refuse(action.name, errno);
  checkpoint("after tap");
  const LinkState link = require_link(socket, kOperation, action.name);
  LinkChange change;
  change.mac = action.mac.empty() ? random_mac(kHighLocalUnicast) : parse_mac(action.mac);
  change.mtu = action.mtu;
  change.txqueuelen = action.txqueuelen;
  change.alias = mark;
  change_link(socket, kOperation, link, change);
  if (action.owner_uid && ::ioctl(tun.get(), TUNSETOWNER, *action.owner_uid) < 0) {
    refuse(action.name, errno);
  }
  // From here on it stays. What fails now is undone by its mark, or here.
  checkpoint("before tap stays");
  if (::ioctl(tun.get(), TUNSETPERSIST, 1) < 0) refuse(action.name, errno);
  checkpoint("after tap stays");
  try {
    LinkChange up;
    up.take_up = true;
    change_link(socket, kOperation, link, up);
  } catch (const Error&) {
    ::ioctl(tun.get(), TUNSETPERSIST, 0);
    throw;
  }
}

}  // namespace vmrig
