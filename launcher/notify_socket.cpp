#include "launcher/notify_socket.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hostcfg/base/fd.hpp"

namespace vmrig {
namespace {

constexpr int kLongestWaitMs = 2000;

template <class Number>
std::optional<Number> number_of(const std::string& text) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto [stop, fault] = std::from_chars(text.data(), end, number);
  if (fault != std::errc{} || stop != end || text.empty()) return std::nullopt;
  return number;
}

// A path, or an abstract name behind an '@'.
bool is_address(const std::string& text) {
  return text.size() >= 2 && text.size() < sizeof(sockaddr_un::sun_path) &&
         (text.front() == '/' || text.front() == '@') && text.find('\0') == std::string::npos;
}

bool send_once(int fd, const sockaddr_un& address, socklen_t size, std::string_view state) {
  while (true) {
    const ssize_t sent = ::sendto(fd, state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                                  reinterpret_cast<const sockaddr*>(&address), size);
    if (sent >= 0) return true;
    if (errno != EINTR) return false;
  }
}

}  // namespace

ServiceSettings service_settings(const std::string& notify_socket, const std::string& watchdog_usec,
                                 const std::string& watchdog_pid, int self) {
  ServiceSettings settings;
  if (!is_address(notify_socket)) return settings;
  settings.notify_socket = notify_socket;
  const std::optional<std::uint32_t> usec = number_of<std::uint32_t>(watchdog_usec);
  const bool is_ours = watchdog_pid.empty() || number_of<int>(watchdog_pid) == self;
  if (usec && *usec > 0 && is_ours) settings.watchdog = std::chrono::microseconds(*usec);
  return settings;
}

bool NotifySocket::tell(std::string_view state, Delivery delivery) const {
  if (!is_there()) return false;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, address_.data(), address_.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  // An abstract name is as long as it is said to be.
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
  // Opened for each message: a manager that has restarted is found again.
  const Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return false;
  if (send_once(fd.get(), address, size, state)) return true;
  if (errno != EAGAIN || delivery == Delivery::kNow) return false;
  // Connected, so that the kernel tells when its queue has room.
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) return false;
  pollfd writable{.fd = fd.get(), .events = POLLOUT, .revents = 0};
  return ::poll(&writable, 1, kLongestWaitMs) > 0 && send_once(fd.get(), address, size, state);
}

}  // namespace vmrig
