#include "tests/support/fake_manager.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <system_error>
#include <utility>

namespace vmrig::testing {

FakeManager::FakeManager(std::string address)
    : address_(std::move(address)),
      socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  std::memcpy(where.sun_path, address_.data(),
              std::min(address_.size(), sizeof(where.sun_path) - 1));
  if (where.sun_path[0] == '@') where.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
  if (!socket_ || ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&where), size) != 0) {
    throw std::system_error(errno, std::generic_category(), address_);
  }
}

std::string FakeManager::heard() const {
  std::array<char, 4096> buffer{};
  const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
  return got > 0 ? std::string(buffer.data(), static_cast<std::size_t>(got)) : std::string();
}

std::string FakeManager::wait_for(const std::string& part, std::chrono::milliseconds within) const {
  const auto until = std::chrono::steady_clock::now() + within;
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd readable{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || ::poll(&readable, 1, static_cast<int>(left.count())) <= 0) return {};
    std::string message = heard();
    if (message.find(part) != std::string::npos) return message;
  }
}

}  // namespace vmrig::testing
