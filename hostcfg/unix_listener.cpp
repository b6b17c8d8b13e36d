#include "hostcfg/unix_listener.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "hostcfg/base/fd.hpp"

namespace vmrig {

bool has_listener(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return true;
  std::memcpy(address.sun_path, path.data(), path.size());
  // A datagram socket can't be connected to a stream socket: EPROTOTYPE when there is one.
  // Source: unix(7).
  const Fd probe(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe) return true;
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return false;  // a datagram socket, which QEMU can't use
  }
  return errno != ENOENT && errno != ECONNREFUSED;
}

}  // namespace vmrig
